import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import t from 'tap'
import { letsAnybodyIn, loadEnvFile, readConfig, refuseStrangers, SETTINGS, warningOfRebinding } from '../src/config.js'
import { StartupError } from '../src/locks/errors.js'
import { parseDatabaseUrl } from '../src/storage/index.js'
import { inProject } from './support/program.js'

const DEFAULTS = {
  DATABASE_URL: 'sqlite:///./resource_locks.db',
  HOST: '127.0.0.1',
  PORT: 8000,
  LOG_LEVEL: 'info',
  DEFAULT_TTL_SECONDS: undefined,
  MAX_TTL_SECONDS: 31_536_000,
  MAX_WAIT_SECONDS: 60,
  SWEEP_INTERVAL_SECONDS: 5,
  HISTORY_RETENTION_DAYS: 7,
  COMPAT_APIS: ['traffic-jam', 'documents', 'booking', 'terraform'],
  ALLOW_ANONYMOUS: false,
  ALLOWED_HOSTS: undefined,
  CORS_ORIGIN: undefined,
  TRUST_PROXY: undefined,
  DATABASE_LISTEN_URL: undefined,
  MAX_BODY_BYTES: 65_536,
  MAX_NAMES_PER_REQUEST: 100,
  MAX_WAITERS_PER_RESOURCE: 1000,
  MAX_WAITERS_PER_CALLER: 5000,
  MAX_LOCKS_PER_KEY: 1_000_000,
  MAX_WATCHERS: 1000,
  MAX_WATCHERS_PER_CALLER: 100,
  RATE_LIMIT_PER_SECOND: undefined,
  REQUEST_TIMEOUT_SECONDS: 10
}

const messageOf = (body: () => unknown): string => {
  try {
    body()
  } catch (error) {
    if (error instanceof StartupError) return error.message
    throw error
  }
  return 'accepted'
}

void t.test('an empty environment gives the defaults', (t) => {
  t.strictSame({ ...readConfig({}) }, DEFAULTS)
  t.strictSame({ ...readConfig({ UNKNOWN: 'x', port: '1' }) }, DEFAULTS, 'other variables are none of its business')
  t.ok(Object.isFrozen(readConfig({})))
  t.end()
})

void t.test('an empty or blank value means the default', (t) => {
  for (const blank of ['', ' ', '\t']) {
    t.strictSame({ ...readConfig(Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, blank]))) }, DEFAULTS)
  }
  t.end()
})

void t.test('each setting is read', (t) => {
  const environment = {
    DATABASE_URL: 'postgres://u:p@db/locks',
    HOST: ' 0.0.0.0 ',
    PORT: '0',
    LOG_LEVEL: 'debug',
    DEFAULT_TTL_SECONDS: '0.5',
    MAX_TTL_SECONDS: '3155760000',
    MAX_WAIT_SECONDS: '0',
    SWEEP_INTERVAL_SECONDS: '0.001',
    HISTORY_RETENTION_DAYS: '0.5',
    COMPAT_APIS: 'booking, documents',
    ALLOW_ANONYMOUS: 'true',
    ALLOWED_HOSTS: 'locks.example.com, Locks',
    CORS_ORIGIN: 'https://example.com,http://127.0.0.1:3000',
    TRUST_PROXY: '10.0.0.0/8, ::1, loopback',
    DATABASE_LISTEN_URL: 'postgres://u:p@direct/locks',
    MAX_BODY_BYTES: '1024',
    MAX_NAMES_PER_REQUEST: '1',
    MAX_WAITERS_PER_RESOURCE: '1',
    MAX_WAITERS_PER_CALLER: '1000000',
    MAX_LOCKS_PER_KEY: '1000000000',
    MAX_WATCHERS: '1',
    MAX_WATCHERS_PER_CALLER: '1000000',
    RATE_LIMIT_PER_SECOND: '50',
    REQUEST_TIMEOUT_SECONDS: '1.5'
  }
  t.strictSame({ ...readConfig(environment) }, {
    DATABASE_URL: 'postgres://u:p@db/locks',
    HOST: '0.0.0.0',
    PORT: 0,
    LOG_LEVEL: 'debug',
    DEFAULT_TTL_SECONDS: 0.5,
    MAX_TTL_SECONDS: 3_155_760_000,
    MAX_WAIT_SECONDS: 0,
    SWEEP_INTERVAL_SECONDS: 0.001,
    HISTORY_RETENTION_DAYS: 0.5,
    COMPAT_APIS: ['booking', 'documents'],
    ALLOW_ANONYMOUS: true,
    ALLOWED_HOSTS: 'locks.example.com, Locks',
    CORS_ORIGIN: 'https://example.com,http://127.0.0.1:3000',
    TRUST_PROXY: '10.0.0.0/8, ::1, loopback',
    DATABASE_LISTEN_URL: 'postgres://u:p@direct/locks',
    MAX_BODY_BYTES: 1024,
    MAX_NAMES_PER_REQUEST: 1,
    MAX_WAITERS_PER_RESOURCE: 1,
    MAX_WAITERS_PER_CALLER: 1_000_000,
    MAX_LOCKS_PER_KEY: 1_000_000_000,
    MAX_WATCHERS: 1,
    MAX_WATCHERS_PER_CALLER: 1_000_000,
    RATE_LIMIT_PER_SECOND: 50,
    REQUEST_TIMEOUT_SECONDS: 1.5
  })
  t.end()
})

const noNumbers = ['-1', '+1', '1e3', '0x10', '1,5', '1_000', '5s', 'NaN', 'Infinity', 'true', '.5', '5.', 'null']
const WRONG: Readonly<Record<Exclude<keyof typeof SETTINGS, 'DATABASE_URL' | 'DATABASE_LISTEN_URL'>, readonly string[]>> = {
  HOST: ['http://localhost', 'a b', '-x', '127.0.0.1:80', '[::1]', 'x/y', 'x'.repeat(254)],
  PORT: [...noNumbers, '65536', '80.5'],
  LOG_LEVEL: ['INFO', 'verbose', 'warning', '30'],
  DEFAULT_TTL_SECONDS: [...noNumbers, '0', '31536001'],
  MAX_TTL_SECONDS: [...noNumbers, '0', '3155760001'],
  MAX_WAIT_SECONDS: [...noNumbers, '3601'],
  HISTORY_RETENTION_DAYS: [...noNumbers, '36501'],
  COMPAT_APIS: ['redis', 'booking,redis', 'Booking', 'booking;documents', 'booking,', 'booking,booking', 'none,booking', 'all'],
  SWEEP_INTERVAL_SECONDS: [...noNumbers, '0', '0.0009', '86401'],
  ALLOW_ANONYMOUS: ['yes', '1', 'TRUE', 'on'],
  ALLOWED_HOSTS: [',', 'a b', 'http://a', 'a:80', '*', 'a,-b'],
  CORS_ORIGIN: [',', 'example.com', 'https://example.com/', 'https://*.example.com', 'null', 'ftp://a', 'https://a b', 'javascript:x'],
  TRUST_PROXY: [',', 'true', '1', '10.0.0.0/33', '10.0.0.0/8/8', '::/129', 'proxy.example.com', '10.0.0.0/-1', '0.0.0.0/0'],
  MAX_BODY_BYTES: [...noNumbers, '1023', '1048577', '2000.5'],
  MAX_NAMES_PER_REQUEST: [...noNumbers, '0', '101'],
  MAX_WAITERS_PER_RESOURCE: [...noNumbers, '0', '1000001'],
  MAX_WAITERS_PER_CALLER: [...noNumbers, '0', '1000001'],
  MAX_LOCKS_PER_KEY: [...noNumbers, '0', '1000000001'],
  MAX_WATCHERS: [...noNumbers, '0', '1000001'],
  MAX_WATCHERS_PER_CALLER: [...noNumbers, '0', '1000001'],
  RATE_LIMIT_PER_SECOND: [...noNumbers, '0', '1000001', '0.5'],
  REQUEST_TIMEOUT_SECONDS: [...noNumbers, '0.9', '301']
}

void t.test('a wrong value is refused with its name, what it is and what was expected', (t) => {
  for (const [name, values] of Object.entries(WRONG)) {
    const { expected } = SETTINGS[name as keyof typeof WRONG]
    for (const value of values) t.equal(messageOf(() => readConfig({ [name]: value })), `${name} is '${value}'; expected ${expected}.`)
  }
  t.end()
})

void t.test('a default lease longer than the longest one is refused', (t) => {
  t.match(messageOf(() => readConfig({ DEFAULT_TTL_SECONDS: '61', MAX_TTL_SECONDS: '60' })), /^DEFAULT_TTL_SECONDS is '61'; expected .* MAX_TTL_SECONDS/)
  t.match(readConfig({ DEFAULT_TTL_SECONDS: '60', MAX_TTL_SECONDS: '60' }), { DEFAULT_TTL_SECONDS: 60 })
  t.end()
})

void t.test('the other APIs can be switched off', (t) => {
  t.strictSame(readConfig({ COMPAT_APIS: 'none' }).COMPAT_APIS, [])
  t.strictSame(readConfig({ COMPAT_APIS: 'documents' }).COMPAT_APIS, ['documents'])
  t.end()
})

void t.test('an address that other machines can reach needs keys or ALLOW_ANONYMOUS', (t) => {
  for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'example.org', 'localhost.example.org', '127.0.0.1.example.org', '::ffff:10.0.0.1']) {
    const [closed, open] = [readConfig({ HOST }), readConfig({ HOST, ALLOW_ANONYMOUS: 'true' })]
    t.match(messageOf(() => refuseStrangers(closed, false)), new RegExp(`^HOST is '${HOST}'.*npm run keys -- create NAME.*ALLOW_ANONYMOUS=true`))
    t.doesNotThrow(() => refuseStrangers(closed, true))
    t.doesNotThrow(() => refuseStrangers(open, false))
    t.strictSame([letsAnybodyIn(closed), letsAnybodyIn(open)], [false, true])
  }
  for (const HOST of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) {
    t.doesNotThrow(() => refuseStrangers(readConfig({ HOST }), false))
    t.equal(letsAnybodyIn(readConfig({ HOST })), true)
  }
  t.end()
})

const warned = (environment: Record<string, string>, keys = false) => warningOfRebinding(readConfig(environment), keys) !== undefined

void t.test('a service that anybody may use under any name warns', (t) => {
  t.match(warningOfRebinding(readConfig({ HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true' }), false), /^[^\n]*ALLOWED_HOSTS[^\n]*$/)
  t.equal(warned({ HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true', ALLOWED_HOSTS: 'locks.example.com' }), false)
  t.equal(warned({ HOST: '0.0.0.0' }, true), false, 'with keys')
  t.equal(warned({ HOST: '127.0.0.1', ALLOW_ANONYMOUS: 'true' }), false, 'other names are refused there')
  t.end()
})

void t.test('no refusal repeats a password', (t) => {
  const urls = ['mysql://u:hunter2@db/x', 'u:hunter2@db/x', 'postgres://u:hunter2@db:port/x', 'postgres://u:hun/ter2@', 'hunter2@db', 'sqlite:x.db?key=hunter2']
  for (const url of urls) {
    const message = messageOf(() => parseDatabaseUrl(url))
    t.match(message, /^DATABASE_URL .*; expected .*sqlite:/, url)
    t.notMatch(message, /hunter2|ter2/, url)
  }
  for (const wrong of [{ PORT: 'x' }, { HOST: '-' }, { DEFAULT_TTL_SECONDS: '1e9' }]) {
    t.notMatch(messageOf(() => readConfig({ DATABASE_URL: 'postgres://u:hunter2@db/x', DATABASE_LISTEN_URL: 'postgres://u:hunter2@db/x', ...wrong })), /hunter2|accepted/)
  }
  t.end()
})

void t.test('.env.example has every setting with its default and its meaning, and nothing else', (t) => {
  const text = readFileSync(inProject('.env.example'), 'utf8')
  const example = parseEnv(text)
  t.strictSame(Object.keys(example).toSorted(), Object.keys(SETTINGS).toSorted())
  t.strictSame(example, Object.fromEntries(Object.entries(SETTINGS).map(([name, { fallback }]) => [name, fallback ?? ''])))
  t.strictSame({ ...readConfig(example) }, DEFAULTS)
  for (const name of Object.keys(SETTINGS)) t.match(text, new RegExp(`\\n\\n(?:# .+\\n)+${name}=`), `${name} is explained`)
  t.end()
})

void t.test('docs/settings.md has every setting with its default, and nothing else', (t) => {
  const rows = readFileSync(inProject('docs/settings.md'), 'utf8').matchAll(/^\| `(?<name>[A-Z_]+)` \| (?<fallback>none|`[^`]+`) \|/gm)
  const documented = Array.from(rows, ({ groups: { name = '', fallback = '' } = {} }) => [name, fallback === 'none' ? undefined : fallback.slice(1, -1)])
  t.strictSame(Object.fromEntries(documented), Object.fromEntries(Object.entries(SETTINGS).map(([name, { fallback }]) => [name, fallback])))
  t.end()
})

void t.test('.env is read where it is, and the environment wins', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rlm-env-'))
  const [cwd, before] = [process.cwd(), { ...process.env }]
  try {
    process.chdir(folder)
    loadEnvFile()
    t.strictSame({ ...process.env }, before, 'no file, no change')
    writeFileSync(join(folder, '.env'), 'ENV_TEST_NEW=from file\nENV_TEST_SET=from file\n')
    process.env['ENV_TEST_SET'] = 'from environment'
    loadEnvFile()
    t.match(process.env, { ENV_TEST_NEW: 'from file', ENV_TEST_SET: 'from environment' })
  } finally {
    process.chdir(cwd)
    for (const name of ['ENV_TEST_NEW', 'ENV_TEST_SET']) delete process.env[name]
    rmSync(folder, { recursive: true, force: true })
  }
  t.end()
})
