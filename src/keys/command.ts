import { digestOf, newSecret, type KeyEntry } from '../locks/api-key.js'
import { StartupError } from '../locks/errors.js'
import type { KeyStore } from '../locks/key-store.js'
import { readArguments, USAGE, type KeysTask } from './arguments.js'

export interface KeysSurroundings {
  /** Opens the keys of the database; not called when the arguments make no sense. */
  readonly open: () => Promise<AsyncDisposable & { readonly keys: KeyStore }>
  /** What was asked for, fit to be read by another program. */
  readonly print: (text: string) => void
  /** What a person should know beside it. */
  readonly note: (text: string) => void
}

/**
 * Makes, lists and revokes API keys: `create NAME`, `list`, `revoke NAME`.
 *
 * @throws StartupError or LockError with one sentence that says why nothing was done.
 */
export async function keysCommand(args: readonly string[], surroundings: KeysSurroundings): Promise<void> {
  const task = readArguments(args)
  if (task.kind === 'help') return surroundings.print(USAGE)
  await using opened = await surroundings.open()
  switch (task.kind) {
    case 'create':
      return await create(task, opened.keys, surroundings)
    case 'list':
      return surroundings.print(tableOf(await opened.keys.list()))
    case 'revoke':
      return await revoke(task.key, opened.keys, surroundings)
  }
}

async function create(asked: Extract<KeysTask, { kind: 'create' }>, keys: KeyStore, { print, note }: KeysSurroundings): Promise<void> {
  const { name, scopes, prefix, validForMs } = asked
  const secret = newSecret()
  const { id, expiresAt } = await keys.create({ name, scopes, prefix, validForMs, digest: digestOf(secret) })
  print(`${secret}\n`)
  const reach = prefix === '' ? 'all resources' : `resources that begin with '${prefix}'`
  const until = expiresAt === null ? 'without end' : `until ${timeOf(expiresAt)}`
  note(`Key ${id} '${name}' was made: ${scopes.join(', ')} for ${reach}, ${until}.\n`)
  note('It is shown this once and nowhere kept. A running service knows it within two seconds.\n')
}

async function revoke(key: string, keys: KeyStore, { note }: KeysSurroundings): Promise<void> {
  const named = (await keys.list()).filter(({ id, name }) => String(id) === key || name === key)
  const [live, ...others] = named.filter(({ revokedAt }) => revokedAt === null)
  if (named.length === 0) throw new StartupError(`There is no key '${key}'.`)
  if (live === undefined) throw new StartupError(`The key '${key}' was revoked before.`)
  if (others.length > 0) {
    const ids = [live, ...others].map(({ id }) => id).join(' and ')
    throw new StartupError(`There are several keys '${key}'; say which by its id: ${ids}.`)
  }
  await keys.revoke(live.id)
  note(`Key ${live.id} '${live.name}' was revoked. A running service refuses it within two seconds.\n`)
}

function tableOf(entries: readonly KeyEntry[]): string {
  if (entries.length === 0) return 'There are no keys.\n'
  const rows = entries.map(({ id, name, scopes, prefix, createdAt, expiresAt, state }) => [
    String(id),
    name,
    scopes.join(','),
    prefix === '' ? '-' : prefix,
    timeOf(createdAt),
    expiresAt === null ? '-' : timeOf(expiresAt),
    state
  ])
  const lines = [['ID', 'NAME', 'SCOPES', 'PREFIX', 'CREATED', 'EXPIRES', 'STATE'], ...rows]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  return lines.map((line) => `${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd()}\n`).join('')
}

function timeOf(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`
}
