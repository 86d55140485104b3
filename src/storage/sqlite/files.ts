import { accessSync, chmodSync, chownSync, closeSync, constants, existsSync, fsyncSync, openSync, readlinkSync, realpathSync, renameSync, rmSync, statSync, writeFileSync, type Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { StartupError } from '../../locks/errors.js'

/** Only the service's own user: other users must not read the names of locks and holders, nor the digests of keys. */
const PRIVATE_MODE = 0o600

const RESERVE_BYTES = 512 * 1024

/**
 * Space that is reserved beside the database, so that locks can still be released when the disk is full. The first release
 * that finds no other space frees it; it is allocated again when the disk has space.
 */
export class DiskReserve {
  readonly #file: string
  readonly #new: string
  #full = false

  constructor(file: string) {
    this.#file = `${file}-reserve`
    this.#new = `${file}-reserve-new`
    rmSync(this.#new, { force: true })
    this.allocate()
  }

  /** The disk was found full: the reserve must be allocated again before it counts. */
  foundFull(): void {
    this.#full = true
  }

  /** Allocates the reserve if it is missing or the disk was found full; false when the disk has no space for it. */
  allocate(): boolean {
    if (existsSync(this.#file) && !this.#full) return true
    try {
      // Beside the old one: space for both proves that the disk is no longer full.
      const handle = openSync(this.#new, 'w', PRIVATE_MODE)
      try {
        // Not writeSync, which writes only what fits and reports no error.
        writeFileSync(handle, Buffer.alloc(RESERVE_BYTES))
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      renameSync(this.#new, this.#file)
      this.#full = false
      return true
    } catch {
      // A partial reserve would only use up the rest of the space.
      rmSync(this.#new, { force: true })
      return false
    }
  }

  /** Frees the space. */
  free(): void {
    rmSync(this.#file, { force: true })
  }
}

/** The database itself, the files that SQLite keeps beside it, and the file that {@link lockFile} locks. */
const ENDINGS = ['', '-wal', '-shm', '-owner'] as const

/** Links that may follow each other; more are a circle. */
const MAX_LINKS = 40

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
    const target = links < MAX_LINKS ? targetOf(path) : undefined
    if (target === undefined) break
    path = resolve(folder, target)
  }
  const found = statOf(path)
  if (found === undefined) return path
  if (!found.isFile()) throw new StartupError(`DATABASE_URL names ${path}, which is not a file.`)
  if (found.nlink > 1) {
    // Each name would have its own log and its own owner.
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

/** @throws StartupError when this user may not read and write the files, or create new ones beside them. */
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

/** Creates an empty file that only this user can read, whatever the umask says; leaves an existing one alone. */
export function createPrivate(path: string): void {
  try {
    // An existing file must not be opened here: closing it again would drop the locks that this process has on it.
    closeSync(openSync(path, 'wx', PRIVATE_MODE))
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

/**
 * Makes this process the only server on a SQLite file, until the returned function is called or the process ends. It takes
 * the write lock of a second, empty database beside the file: the operating system releases that lock even if the process
 * is killed, so that no stale lock prevents a restart.
 *
 * @throws StartupError when another server has the file.
 */
export function lockFile(file: string): () => void {
  const path = `${file}-owner`
  createPrivate(path)
  try {
    // A file of an earlier version may be open to every user.
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, PRIVATE_MODE)
  } catch {
    // It belongs to another user.
  }
  // As SQLite does with its own files: what root creates beside another user's database must not keep that user out.
  const { uid, gid } = statSync(file, { throwIfNoEntry: false }) ?? { uid: 0, gid: 0 }
  if (process.getuid?.() === 0 && uid !== 0) chownSync(path, uid, gid)
  const owner = new Database(path, { timeout: 0 })
  try {
    owner.pragma('journal_mode = memory')
    owner.exec('begin immediate')
  } catch (error) {
    owner.close()
    if (!codeOf(error).startsWith('SQLITE_BUSY')) throw error
    throw new StartupError(`Another server is already running on the SQLite file ${file}; stop it, or use PostgreSQL to run several instances.`)
  }
  return () => owner.close()
}

export function warningsOf(file: string): string[] {
  // Windows has no such modes.
  if (process.getuid === undefined) return []
  const open = ENDINGS.map((ending) => file + ending).filter((path) => ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o027) !== 0)
  if (open.length === 0) return []
  return [`Other users of this machine can read or change ${open.join(', ')}; run chmod 600 on ${open.length === 1 ? 'it' : 'them'}.`]
}

function accessError(error: unknown, path: string): StartupError {
  const code = codeOf(error)
  if (code === 'EROFS') return new StartupError(`The file system of ${path} is read-only; the service needs to write to its SQLite file and to the folder.`)
  return new StartupError(`This user may not read and write ${path} (${code}); the service needs to write to its SQLite file and to the folder.`)
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
