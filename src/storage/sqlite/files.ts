import { accessSync, chmodSync, chownSync, closeSync, constants, existsSync, openSync, readlinkSync, realpathSync, statSync, type Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { StartupError } from '../../locks/errors.js'
import { codeOf } from './errors.js'

/** The database itself, what SQLite keeps beside it, and the file that {@link lockFile} locks. */
const ENDINGS = ['', '-wal', '-shm', '-owner'] as const

/** Only the service's own user: names of locks, holders and the digests of keys are nobody else's business. */
export const PRIVATE_MODE = 0o600

/** Links that may follow each other; more are a circle. */
const MOST_LINKS = 40

/**
 * The absolute path behind every symbolic link, by which SQLite names the files beside the database. The database itself
 * need not exist yet.
 *
 * @throws StartupError when its folder does not exist, or when the file has a second name.
 */
export function locateFile(file: string): string {
  let path = resolve(file)
  for (let links = 0; ; links += 1) {
    const folder = realFolder(dirname(path), path)
    path = join(folder, basename(path))
    const target = links < MOST_LINKS ? targetOf(path) : undefined
    if (target === undefined) break
    path = resolve(folder, target)
  }
  const found = statOf(path)
  if (found === undefined) return path
  if (!found.isFile()) throw new StartupError(`DATABASE_URL names ${path}, which is not a file.`)
  if (found.nlink > 1) {
    // Each name would have a log and an owner of its own.
    throw new StartupError(`The SQLite file ${path} has ${found.nlink} names (hard links), and its log belongs to one of them; copy the file or remove the other names.`)
  }
  return path
}

function realFolder(folder: string, file: string): string {
  try {
    return realpathSync.native(`${folder}/.`)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') throw new StartupError(`The folder of the SQLite file ${file} does not exist.`)
    throw accessError(error, folder)
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    throw accessError(error, path)
  }
}

/** What a symbolic link points to; undefined for anything else. */
function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** @throws StartupError when this user may not read and write the files, or make new ones beside them. */
export function refuseReadOnly(file: string): void {
  const { R_OK, W_OK, X_OK } = constants
  const existing = ENDINGS.map((ending) => file + ending).filter((path) => existsSync(path))
  for (const [path, mode] of [...existing.map((path) => [path, R_OK | W_OK] as const), [dirname(file), W_OK | X_OK] as const]) {
    try {
      accessSync(path, mode)
    } catch (error) {
      throw accessError(error, path)
    }
  }
}

function accessError(error: unknown, path: string): StartupError {
  const code = codeOf(error)
  if (code === 'EROFS') return new StartupError(`The file system of ${path} is read-only; the service needs to write to its SQLite file and to the folder.`)
  return new StartupError(`This user may not read and write ${path} (${code}); the service needs to write to its SQLite file and to the folder.`)
}

/** Makes an empty file that only this user can read, whatever the umask says; leaves an existing one alone. */
export function createPrivate(path: string): void {
  try {
    // An existing file must not be opened here: closing it again would drop the locks that this process has on it.
    closeSync(openSync(path, 'wx', PRIVATE_MODE))
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

/**
 * Makes this process the only server on a SQLite file, until the returned function is called or the process ends in
 * whatever way. What it locks is a second, empty database beside it: the operating system takes its locks back even from a
 * process that was killed, so that no stale lock can keep a restart out. It is the lock of a writer, which readers do not
 * hinder.
 *
 * @throws StartupError when another server has the file.
 */
export function lockFile(file: string): () => void {
  const path = `${file}-owner`
  createPrivate(path)
  restrict(path)
  if (process.getuid?.() === 0) giveToOwner(path, file)
  const owner = new Database(path, { timeout: 0 })
  try {
    owner.pragma('journal_mode = memory')
    owner.exec('begin immediate')
  } catch (error) {
    owner.close()
    if (!codeOf(error).startsWith('SQLITE_BUSY')) throw error
    throw new StartupError(
      `Another server is already running on the SQLite file ${file}; stop it, or use PostgreSQL to run several instances.`
    )
  }
  return () => owner.close()
}

/** A file of an earlier version may be open to everybody; it holds nothing that anybody else has to read. */
function restrict(path: string): void {
  try {
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, PRIVATE_MODE)
  } catch {
    // It belongs to another user.
  }
}

/** As SQLite does with its own: what root makes beside another user's database must not keep that user out. */
function giveToOwner(path: string, file: string): void {
  const { uid, gid } = statSync(file, { throwIfNoEntry: false }) ?? { uid: 0, gid: 0 }
  if (uid !== 0) chownSync(path, uid, gid)
}

/** What an operator should know about the files, in sentences. */
export function warningsOf(file: string): string[] {
  // Windows has no such modes.
  if (process.getuid === undefined) return []
  const open = ENDINGS.map((ending) => file + ending).filter((path) => ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o027) !== 0)
  if (open.length === 0) return []
  return [`Other users of this machine can read or change ${open.join(', ')}; run chmod 600 on ${open.length === 1 ? 'it' : 'them'}.`]
}
