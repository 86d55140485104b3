import { parseArgs } from 'node:util'
import { digestOf, faultOfKeyName, newSecret, SCOPES, type KeyEntry, type Scope, type KeyStore } from '../locks/api-keys.js'
import { StartupError } from '../locks/errors.js'
import { faultOfName } from '../locks/lock.js'
import { helpOf, readArguments, type Command, EXIT } from './command.js'
import { tableLines } from './output.js'

// What works on the database itself is loaded where it is used: the other commands start faster without it.

const KEYS_OPTIONS = { scopes: { type: 'string' }, prefix: { type: 'string' }, expires: { type: 'string' } } as const
const RAISE_OPTIONS = { above: { type: 'string' } } as const
const MS_OF = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const LONGEST_DAYS = 36_500
const SETTINGS_HELP = 'The settings come from the environment or a file .env; docs/settings.md has them all.'

/** The service itself: `rlm.ts` starts it, in the same process. */
export const serve: Command = {
  usage: 'serve',
  summary: 'Runs the service.',
  help: SETTINGS_HELP,
  options: {},
  run: async (args) => {
    readArguments(args, {}, [0, 0])
    return EXIT.ok
  }
}

export const migrate: Command = {
  usage: 'migrate',
  summary: 'Brings the database that DATABASE_URL names to the newest version, and ends.',
  help: SETTINGS_HELP,
  options: {},
  run: async (args, { out }) => {
    readArguments(args, {}, [0, 0])
    return await onServer(async () => {
      const { migrateDatabase } = await import('../storage/index.js')
      const names = await migrateDatabase(await databaseUrl())
      for (const line of names.length === 0 ? ['The database is up to date.'] : names.map((name) => `Applied ${name}.`)) out.line(line)
    })
  }
}

export const raiseNumbers: Command = {
  usage: 'raise-numbers [--above NUMBER]',
  summary: 'Keeps fencing tokens growing after the database was restored from a backup.',
  help: `  --above NUMBER  the largest number of a lock that was ever given; reckoned if left out

To be run once on the database that DATABASE_URL names, before the service is started on it. ${SETTINGS_HELP}`,
  options: RAISE_OPTIONS,
  run: (args, { out }) =>
    onServer(async () => {
      const above = numberIn(args)
      const { advanceTokens: raise } = await import('../storage/index.js')
      const { from, to } = await raise(await databaseUrl(), above)
      out.line(to === from ? `The numbers of the locks go on after ${from} as they are.` : `The numbers of the locks go on after ${to}; they were at ${from}.`)
    })
}

export const keys: Command = {
  usage: 'keys create|list|revoke …',
  summary: 'Makes, lists and revokes the API keys of the database that DATABASE_URL names.',
  help: `  rlm keys create NAME [--scopes read,write] [--prefix PREFIX] [--expires 90d]
  rlm keys list
  rlm keys revoke NAME|ID

  --scopes   of read, write and admin, joined by commas; read,write if left out. admin includes the other two.
  --prefix   only resources whose names begin with it
  --expires  after so many minutes (30m), hours (12h) or days (90d); never if left out

${SETTINGS_HELP}`,
  options: KEYS_OPTIONS,
  words: ['create', 'list', 'revoke'],
  run: async (args, { out, err }) => {
    const [verb = 'help'] = args
    if (verb === 'help') {
      out.line(helpOf(keys))
      return EXIT.ok
    }
    return await onServer(() =>
      keysCommand(args, {
        open: async () => (await import('../storage/index.js')).openKeys(await databaseUrl()),
        print: (line) => out.line(line),
        note: (line) => err.line(line)
      })
    )
  }
}

/** Runs what works on the database; it fails as the service does when it cannot start. */
async function onServer(work: () => Promise<void>): Promise<number> {
  try {
    await work()
    return EXIT.ok
  } catch (error) {
    const { fail } = await import('../log.js')
    fail(error)
    return EXIT.refused
  }
}

async function databaseUrl(): Promise<string> {
  const { loadEnvFile, readConfig } = await import('../config.js')
  loadEnvFile()
  return readConfig(process.env).DATABASE_URL
}

function numberIn(args: readonly string[]): number | undefined {
  let above: string | undefined
  try {
    ;({ above } = readArguments(args, RAISE_OPTIONS, [0, 0]).values)
  } catch {
    throw new StartupError('Usage: rlm raise-numbers [--above NUMBER].')
  }
  if (above === undefined) return undefined
  if (/^[1-9][0-9]{0,15}$/.test(above) && Number.isSafeInteger(Number(above))) return Number(above)
  throw new StartupError(`What follows --above is '${above}'; expected the largest number of a lock that was ever given.`)
}

/** What `rlm keys` is asked to do. */
type KeysTask =
  | { readonly kind: 'list' }
  /** `key` is a name or an id. */
  | { readonly kind: 'revoke'; readonly key: string }
  | {
      readonly kind: 'create'
      readonly name: string
      readonly scopes: readonly Scope[]
      /** Empty for all resources. */
      readonly prefix: string
      /** Null has no end. */
      readonly validForMs: number | null
    }

/** @throws StartupError with the sentence that says what cannot be understood. */
export function readKeysTask(args: readonly string[]): KeysTask {
  const { values, positionals } = parseKeys(args)
  const [verb = '', ...rest] = positionals
  if (verb !== 'create' && Object.keys(values).length > 0) throw refusal(`${verb} takes no options`)
  switch (verb) {
    case 'list':
      if (rest.length > 0) throw refusal('list takes no name')
      return { kind: 'list' }
    case 'revoke':
      return { kind: 'revoke', key: theOneIn(rest, 'revoke takes one name or id') }
    case 'create':
      return {
        kind: 'create',
        name: nameIn(theOneIn(rest, 'create takes one name')),
        scopes: scopesIn(values.scopes),
        prefix: prefixIn(values.prefix),
        validForMs: lifeIn(values.expires)
      }
    default:
      throw refusal(`There is no '${verb}'`)
  }
}

function parseKeys(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: KEYS_OPTIONS, allowPositionals: true })
  } catch (error) {
    throw refusal(error instanceof Error ? (/^[^\n.]*/.exec(error.message)?.[0] ?? '') : String(error))
  }
}

function theOneIn([first, ...more]: readonly string[], otherwise: string): string {
  if (first === undefined || more.length > 0) throw refusal(otherwise)
  return first
}

function nameIn(text: string): string {
  const fault = faultOfKeyName(text)
  if (fault !== undefined) throw refusal(`The name of a key ${fault}`)
  return text
}

function scopesIn(text = 'read,write'): readonly Scope[] {
  const words = text.split(',').map((word) => word.trim())
  const unknown = words.find((word) => !SCOPES.some((scope) => scope === word))
  if (unknown !== undefined) throw refusal(`--scopes knows read, write and admin, not '${unknown}'`)
  return SCOPES.filter((scope) => words.includes(scope))
}

function prefixIn(text: string | undefined): string {
  if (text === undefined) return ''
  const fault = faultOfName(text)
  if (fault !== undefined) throw refusal(`--prefix ${fault}`)
  return text
}

function lifeIn(text: string | undefined): number | null {
  if (text === undefined) return null
  const [, digits, unit] = /^([1-9][0-9]{0,7})([mhd])$/.exec(text) ?? []
  const ms = Number(digits) * MS_OF[(unit ?? 'd') as keyof typeof MS_OF]
  if (digits === undefined || ms > LONGEST_DAYS * MS_OF.d) {
    throw refusal(`--expires is '${text}'; expected minutes (30m), hours (12h) or days (90d), at most ${LONGEST_DAYS} days`)
  }
  return ms
}

function refusal(sentence: string): StartupError {
  return new StartupError(`${sentence}; see 'rlm keys --help'.`)
}

interface KeysContext {
  /** Opens the keys of the database; not called when the arguments make no sense. */
  readonly open: () => Promise<AsyncDisposable & { readonly keys: KeyStore }>
  /** A line that was asked for, fit to be read by another program. */
  readonly print: (line: string) => void
  /** What a person should know beside it. */
  readonly note: (line: string) => void
}

/**
 * Makes, lists and revokes API keys: `create NAME`, `list`, `revoke NAME`.
 *
 * @throws StartupError or LockError with one sentence that says why nothing was done.
 */
export async function keysCommand(args: readonly string[], context: KeysContext): Promise<void> {
  const task = readKeysTask(args)
  await using opened = await context.open()
  switch (task.kind) {
    case 'create':
      return await create(task, opened.keys, context)
    case 'list':
      return keyLines(await opened.keys.list()).forEach(context.print)
    case 'revoke':
      return await revoke(task.key, opened.keys, context)
  }
}

async function create(asked: Extract<KeysTask, { kind: 'create' }>, store: KeyStore, { print, note }: KeysContext): Promise<void> {
  const { name, scopes, prefix, validForMs } = asked
  const secret = newSecret()
  const { id, expiresAt } = await store.create({ name, scopes, prefix, validForMs, digest: digestOf(secret) })
  print(secret)
  const reach = prefix === '' ? 'all resources' : `resources that begin with '${prefix}'`
  const until = expiresAt === null ? 'without end' : `until ${timeOf(expiresAt)}`
  note(`Key ${id} '${name}' was made: ${scopes.join(', ')} for ${reach}, ${until}.`)
  note('It is shown this once and nowhere kept. A running service knows it within two seconds.')
}

async function revoke(key: string, store: KeyStore, { note }: KeysContext): Promise<void> {
  const named = (await store.list()).filter(({ id, name }) => String(id) === key || name === key)
  const [live, ...others] = named.filter(({ revokedAt }) => revokedAt === null)
  if (named.length === 0) throw new StartupError(`There is no key '${key}'.`)
  if (live === undefined) throw new StartupError(`The key '${key}' was revoked before.`)
  if (others.length > 0) {
    const ids = [live, ...others].map(({ id }) => id).join(' and ')
    throw new StartupError(`There are several keys '${key}'; say which by its id: ${ids}.`)
  }
  await store.revoke(live.id)
  note(`Key ${live.id} '${live.name}' was revoked. A running service refuses it within two seconds.`)
}

function keyLines(entries: readonly KeyEntry[]): string[] {
  if (entries.length === 0) return ['There are no keys.']
  const rows = entries.map(({ id, name, scopes, prefix, createdAt, expiresAt, state }) => [
    String(id),
    name,
    scopes.join(','),
    prefix === '' ? '-' : prefix,
    timeOf(createdAt),
    expiresAt === null ? '-' : timeOf(expiresAt),
    state
  ])
  return tableLines([['ID', 'NAME', 'SCOPES', 'PREFIX', 'CREATED', 'EXPIRES', 'STATE'], ...rows])
}

function timeOf(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`
}
