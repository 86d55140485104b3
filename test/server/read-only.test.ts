import { spawnSync } from 'node:child_process'
import { chmod, chown, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire } from '../support/commands.js'
import { type ProgramOptions, refused, runCommand, temporaryFolder } from '../support/program.js'

/** A command line that runs a program as somebody whom modes hinder; empty where this process is nobody special itself. */
const AS_NOBODY = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []

/** A migrated database in a folder of the user that the programs run as. */
async function migrated() {
  const folder = await temporaryFolder()
  const file = join(folder.path, 'x.db')
  await using store = await openStore({ databaseUrl: `sqlite:${file}` })
  await store.submit(acquire('a', 'p'))
  await store[Symbol.asyncDispose]()
  if (AS_NOBODY.length > 0) for (const path of [folder.path, file, `${file}-owner`, `${file}-reserve`]) await chown(path, 65534, 65534)
  return { folder, file, options: { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db', PORT: '0' }, under: AS_NOBODY }, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

async function refusedByAll(t: Test, options: ProgramOptions, sentence: RegExp): Promise<void> {
  for (const program of ['server', 'migrate'] as const) await refused(t, program, options, sentence)
  await refused(t, 'keys', { ...options, args: ['create', 'k'] }, sentence)
}

void t.test('a SQLite file that this user may not write to', async (t) => {
  await using database = await migrated()
  const { file, options } = database
  await chmod(file, 0o400)
  await refusedByAll(t, options, new RegExp(`^This user may not read and write ${file} \\(EACCES\\); the service needs to write`))
  await chmod(file, 0o600)
  await chmod(`${file}-owner`, 0o400)
  await refused(t, 'server', options, new RegExp(`^This user may not read and write ${file}-owner \\(EACCES\\)`))
})

void t.test('a folder that this user may not write to', async (t) => {
  await using database = await migrated()
  const { folder, file, options } = database
  await chmod(folder.path, 0o500)
  await refusedByAll(t, options, new RegExp(`^This user may not read and write ${folder.path} \\(EACCES\\)`))
  await chmod(folder.path, 0o700)
  t.match(await runCommand('migrate', options), { code: 0, stdout: 'The database is up to date.\n' })
  t.equal((await stat(file)).mode & 0o777, 0o600)
})

void t.test('a file system that is mounted read-only', async (t) => {
  const namespaces = [['unshare', '--mount'], ['unshare', '--mount', '--map-root-user']].find(([program = '', ...args]) => spawnSync(program, [...args, 'true']).status === 0)
  if (namespaces === undefined) return t.comment('no mount namespaces here')
  await using database = await migrated()
  const { folder, file, options } = database
  const script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
  await refusedByAll(t, { ...options, under: [...namespaces, 'sh', '-c', script, folder.path] }, new RegExp(`^The file system of ${file} is read-only; the service needs to write`))
})

void t.test('what root does to the database of another user keeps that user not out', async (t) => {
  if (AS_NOBODY.length === 0) return t.comment('not root here')
  await using database = await migrated()
  const { file, options } = database
  await rm(`${file}-owner`)
  await rm(`${file}-reserve`)
  t.match(await runCommand('raise-numbers', { ...options, under: [] }), { code: 0 })
  t.match(await runCommand('keys', { ...options, under: [], args: ['create', 'k'] }), { code: 0 })
  t.match(await runCommand('migrate', options), { code: 0, stdout: 'The database is up to date.\n' })
  t.equal((await stat(`${file}-owner`)).uid, 65534)
})
