import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { FormatRegistry, Type, type Static, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { LONGEST_TTL_SECONDS, MAX_NAMES } from './locks/lock.js'
import { StartupError } from './locks/errors.js'

/** The other APIs that the service can serve beside its own. */
export const COMPAT_API_NAMES = ['traffic-jam', 'documents', 'booking', 'terraform'] as const

export type CompatApiName = (typeof COMPAT_API_NAMES)[number]

interface Setting<Schema extends TSchema> {
  readonly schema: Schema
  /** What the environment would have to say to get the default; undefined leaves the setting unset. */
  readonly fallback: string | undefined
  readonly expected: string
  readonly secret?: true
}

const setting = <Schema extends TSchema>(schema: Schema, fallback: string | undefined, expected: string): Setting<Schema> => ({
  schema,
  fallback,
  expected
})

const listed = (isGood: (item: string) => boolean) => (text: string) => listOf(text).length > 0 && listOf(text).every(isGood)
const isHostName = (text: string): boolean => /^(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text)

FormatRegistry.Set('hosts', listed(isHostName))
FormatRegistry.Set('origins', listed((item) => item === '*' || (/^https?:[^*]*$/.test(item) && URL.canParse(item) && new URL(item).origin === item)))
FormatRegistry.Set('proxies', listed(isProxy))
FormatRegistry.Set('host', (text) => isIP(text) !== 0 || isHostName(text))

/** Every setting, its default and its range. Nowhere else is a default decided; `.env.example` tells what each means. */
export const SETTINGS = {
  DATABASE_URL: { ...setting(Type.String({ minLength: 1 }), 'sqlite:///./resource_locks.db', 'a sqlite: or postgres:// URL'), secret: true },
  HOST: setting(Type.String({ format: 'host' }), '127.0.0.1', 'an IP address or host name to listen on'),
  PORT: setting(Type.Integer({ minimum: 0, maximum: 65_535 }), '8000', 'a port number, 0 to 65535 (0 takes any free one)'),
  LOG_LEVEL: setting(
    Type.Union((['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const).map((level) => Type.Literal(level))),
    'info',
    'fatal, error, warn, info, debug, trace or silent'
  ),
  DEFAULT_TTL_SECONDS: setting(Type.Number({ exclusiveMinimum: 0 }), undefined, 'a number of seconds greater than 0 and at most MAX_TTL_SECONDS'),
  MAX_TTL_SECONDS: setting(
    Type.Number({ exclusiveMinimum: 0, maximum: LONGEST_TTL_SECONDS }),
    '31536000',
    `a number of seconds greater than 0 and at most ${LONGEST_TTL_SECONDS}`
  ),
  MAX_WAIT_SECONDS: setting(Type.Number({ minimum: 0, maximum: 3600 }), '60', 'a number of seconds, 0 to 3600'),
  SWEEP_INTERVAL_SECONDS: setting(Type.Number({ minimum: 0.001, maximum: 86_400 }), '5', 'a number of seconds, 0.001 to 86400'),
  HISTORY_RETENTION_DAYS: setting(Type.Number({ minimum: 0, maximum: 36_500 }), '7', 'a number of days, 0 to 36500 (0 keeps no history)'),
  COMPAT_APIS: setting(
    Type.Array(Type.Union(COMPAT_API_NAMES.map((name) => Type.Literal(name))), { uniqueItems: true }),
    COMPAT_API_NAMES.join(','),
    `some of ${COMPAT_API_NAMES.join(', ')}, separated by commas, or none`
  ),
  ALLOW_ANONYMOUS: setting(Type.Boolean(), 'false', 'true or false'),
  ALLOWED_HOSTS: setting(Type.String({ format: 'hosts' }), undefined, 'host names without a port, separated by commas'),
  CORS_ORIGIN: setting(Type.String({ format: 'origins' }), undefined, '* or origins such as https://example.com, separated by commas'),
  TRUST_PROXY: setting(
    Type.String({ format: 'proxies' }),
    undefined,
    'IP addresses, ranges such as 10.0.0.0/8, loopback, linklocal or uniquelocal, separated by commas'
  ),
  DATABASE_LISTEN_URL: { ...setting(Type.String({ minLength: 1 }), undefined, 'a postgres:// URL'), secret: true },
  MAX_BODY_BYTES: setting(Type.Integer({ minimum: 1024, maximum: 1_048_576 }), '65536', 'a number of bytes, 1024 to 1048576'),
  MAX_NAMES_PER_REQUEST: setting(Type.Integer({ minimum: 1, maximum: MAX_NAMES }), '100', `a whole number, 1 to ${MAX_NAMES}`),
  MAX_WAITERS_PER_RESOURCE: setting(Type.Integer({ minimum: 1, maximum: 1_000_000 }), '1000', 'a whole number, 1 to 1000000'),
  MAX_WAITERS_PER_CALLER: setting(Type.Integer({ minimum: 1, maximum: 1_000_000 }), '5000', 'a whole number, 1 to 1000000'),
  MAX_LOCKS_PER_KEY: setting(Type.Integer({ minimum: 1, maximum: 1_000_000_000 }), '1000000', 'a whole number, 1 to 1000000000'),
  MAX_WATCHERS: setting(Type.Integer({ minimum: 1, maximum: 1_000_000 }), '1000', 'a whole number, 1 to 1000000'),
  MAX_WATCHERS_PER_CALLER: setting(Type.Integer({ minimum: 1, maximum: 1_000_000 }), '100', 'a whole number, 1 to 1000000'),
  RATE_LIMIT_PER_SECOND: setting(Type.Integer({ minimum: 1, maximum: 1_000_000 }), undefined, 'a whole number of requests, 1 to 1000000'),
  REQUEST_TIMEOUT_SECONDS: setting(Type.Number({ minimum: 1, maximum: 300 }), '10', 'a number of seconds, 1 to 300')
} satisfies Record<string, Setting<TSchema>>

type Settings = { readonly [Name in keyof typeof SETTINGS]: Static<(typeof SETTINGS)[Name]['schema']> }

/** Those that nothing stands for when they are left out. */
type Unset = 'DEFAULT_TTL_SECONDS' | 'ALLOWED_HOSTS' | 'CORS_ORIGIN' | 'TRUST_PROXY' | 'DATABASE_LISTEN_URL' | 'RATE_LIMIT_PER_SECOND'

export type Config = { readonly [Name in keyof Settings]: Settings[Name] | (Name extends Unset ? undefined : never) }

/**
 * Reads the settings from an environment.
 *
 * @throws StartupError that names the setting, the value (unless it may hold a password) and what was expected.
 */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const config = Object.fromEntries(
    Object.entries(SETTINGS).map(([name, { schema, fallback, expected, ...rest }]) => {
      const text = nonEmpty(environment[name]) ?? fallback
      if (text === undefined) return [name, undefined]
      const value = fromText(schema, text)
      if (!Value.Check(schema, value)) throw refusal(name, 'secret' in rest ? undefined : text, expected)
      return [name, value]
    })
  ) as unknown as Config
  if ((config.DEFAULT_TTL_SECONDS ?? 0) > config.MAX_TTL_SECONDS) {
    throw refusal('DEFAULT_TTL_SECONDS', String(config.DEFAULT_TTL_SECONDS), SETTINGS.DEFAULT_TTL_SECONDS.expected)
  }
  return Object.freeze(config)
}

/** Whether callers need no key as long as nobody has made one: on this machine alone, or where it is asked for. */
export function letsAnybodyIn({ ALLOW_ANONYMOUS, HOST }: Pick<Config, 'ALLOW_ANONYMOUS' | 'HOST'>): boolean {
  return ALLOW_ANONYMOUS || isLoopback(HOST)
}

/** @throws StartupError when others could reach the service and none of them could be let in, since there is no key yet. */
export function refuseStrangers(config: Pick<Config, 'ALLOW_ANONYMOUS' | 'HOST'>, thereAreKeys: boolean): void {
  if (thereAreKeys || letsAnybodyIn(config)) return
  throw new StartupError(
    `HOST is '${config.HOST}', which other machines can reach, and there is no API key yet to tell who may use the service; make one with ` +
      "'npm run keys -- create NAME', or set HOST=127.0.0.1, or ALLOW_ANONYMOUS=true if anybody may take and release locks."
  )
}

/** What to say where any page that makes its own name lead to this machine (DNS rebinding) could do everything; else undefined. */
export function warningOfRebinding({ HOST, ALLOWED_HOSTS }: Pick<Config, 'HOST' | 'ALLOWED_HOSTS'>, thereAreKeys: boolean): string | undefined {
  if (thereAreKeys || isLoopback(HOST) || ALLOWED_HOSTS !== undefined) return undefined
  return `Anybody who reaches ${HOST} may take and release locks, and so may every web page that one of them opens (DNS rebinding); make a key, or set ALLOWED_HOSTS.`
}

/** Puts the settings of `.env` in the working directory, if there is one, into the environment; what is set there already wins. */
export function loadEnvFile(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

function fromText(schema: TSchema, text: string): unknown {
  if (schema['type'] === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  if (schema['type'] === 'string') return text
  if (schema['type'] === 'array') return text === 'none' ? [] : text.split(',').map((item) => item.trim())
  return /^[0-9]+(?:\.[0-9]+)?$/.test(text) ? Number(text) : text
}

/** `NAME=` in a file means the same as no line at all. */
function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim()
}

function refusal(name: string, text: string | undefined, expected: string): StartupError {
  return new StartupError(`${name} is ${text === undefined ? 'not usable' : `'${text}'`}; expected ${expected}.`)
}

/** The items of a list that is separated by commas; none for what is unset. */
export function listOf(text: string | undefined): string[] {
  return (text ?? '').split(',').flatMap((item) => nonEmpty(item) ?? [])
}

function isProxy(item: string): boolean {
  const [address = '', bits, ...more] = item.split('/')
  if (bits === undefined) return isIP(address) !== 0 || ['loopback', 'linklocal', 'uniquelocal'].includes(address)
  return more.length === 0 && isIP(address) !== 0 && /^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (isIP(address) === 4 ? 32 : 128)
}

/** Where the service of an environment is reached from this machine, be the other settings as they may. */
export function listenedAt(environment: Readonly<Record<string, string | undefined>>): string {
  const [host = '', port] = (['HOST', 'PORT'] as const).map((name) => nonEmpty(environment[name]) ?? SETTINGS[name].fallback)
  const address = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${isIP(address) === 6 ? `[${address}]` : address}:${port}`
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
