import Database from 'better-sqlite3'
import type { FastifyInstance, InjectOptions } from 'fastify'
import pg from 'pg'
import t, { type Test } from 'tap'
import { type AppOptions, buildApp } from '../../src/app.js'
import { COMPAT_API_NAMES } from '../../src/config.js'
import { ApiKeyCache, digestOf, type NewKey, newSecret, type Scope } from '../../src/locks/api-keys.js'
import { LockService, type LockServiceOptions } from '../../src/locks/lock-service.js'
import { openStore, parseDatabaseUrl } from '../../src/storage/index.js'
import { type DatabaseName, DATABASES, freshDatabase, type TestDatabase } from './databases.js'

export type TestAppOptions = Partial<Omit<AppOptions, 'locks' | 'keys'>> & Partial<LockServiceOptions>

/** The defaults of the service: no lease unless one is asked for, and at most a year. */
const DEFAULTS = { defaultTtlMs: null, maxTtlSeconds: 31_536_000, maxWaitSeconds: 60, compatApis: COMPAT_API_NAMES }

type Store = Awaited<ReturnType<typeof openStore>>
type Query = Readonly<Record<string, string | number>>

export interface Answer<Body = unknown> {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  /** Read as JSON; the text itself where it is none. */
  readonly body: Body
}

/** The whole service on a fresh database whose clock stands still until the test moves it. */
export class TestApp implements AsyncDisposable {
  readonly database: TestDatabase
  readonly store: Store
  /** It reads the keys only when a test tells it to. */
  readonly keys: ApiKeyCache
  readonly app: FastifyInstance

  private constructor(database: TestDatabase, store: Store, keys: ApiKeyCache, app: FastifyInstance) {
    this.database = database
    this.store = store
    this.keys = keys
    this.app = app
  }

  static async open(kind: DatabaseName, options: TestAppOptions = {}): Promise<TestApp> {
    const settings = { ...DEFAULTS, ...options }
    const database = await freshDatabase(kind)
    try {
      const store = await openStore({ databaseUrl: database.url, clock: database.now })
      try {
        const keys = new ApiKeyCache(store.keys, { onError: () => undefined })
        return new TestApp(database, store, keys, await buildApp({ ...settings, keys, locks: new LockService(store, settings) }))
      } catch (error) {
        await store[Symbol.asyncDispose]()
        throw error
      }
    } catch (error) {
      await database[Symbol.asyncDispose]()
      throw error
    }
  }

  get<Body = unknown>(path: string, query: Query = {}): Promise<Answer<Body>> {
    return this.send({ method: 'GET', url: urlOf(path, query) })
  }

  delete<Body = unknown>(path: string, query: Query = {}): Promise<Answer<Body>> {
    return this.send({ method: 'DELETE', url: urlOf(path, query) })
  }

  post<Body = unknown>(path: string, body: object): Promise<Answer<Body>> {
    return this.send({ method: 'POST', url: path, payload: body })
  }

  /** For what the short forms cannot say: texts that are no JSON, headers, queries that are spelled in a certain way. */
  async send<Body = unknown>(request: InjectOptions): Promise<Answer<Body>> {
    const { statusCode: status, headers, payload } = await this.app.inject(request)
    const isJson = String(headers['content-type']).startsWith('application/json')
    return { status, headers, body: (isJson ? JSON.parse(payload) : payload) as Body }
  }

  /** Listens on a free loopback port, for tests of what happens on the socket; resolves to the port. */
  async listen(): Promise<number> {
    await this.app.listen({ host: '127.0.0.1', port: 0 })
    const address = this.app.server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return address.port
  }

  /** Moves the database's clock forward. */
  advance(ms: number): Promise<void> {
    return this.database.advance(ms)
  }

  /** One round of the sweeper. */
  async sweep(): Promise<void> {
    await this.store.submit({ kind: 'sweep', limit: 1000 })
  }

  /** Every row of every table, and where each sequence stands: what a refused request must leave as it was. */
  contents(): Promise<Readonly<Record<string, readonly string[]>>> {
    const location = parseDatabaseUrl(this.database.url)
    return location.kind === 'sqlite' ? contentsOfSqlite(location.file) : contentsOfPostgres(location.url)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A client may have opened a connection that it never used; a closing server would wait for its first request.
    const impatience = setTimeout(() => this.app.server.closeAllConnections(), 300)
    await this.app.close()
    clearTimeout(impatience)
    await this.store[Symbol.asyncDispose]()
    await this.database[Symbol.asyncDispose]()
  }
}

/** Runs a test on each kind of database, each time with a service of its own. */
export function onEachDatabase(title: string, body: (t: Test, api: TestApp) => Promise<void>, options: TestAppOptions = {}): void {
  for (const kind of DATABASES) {
    void t.test(`${title} (${kind})`, async (t) => {
      await using api = await TestApp.open(kind, options)
      await body(t, api)
    })
  }
}

function urlOf(path: string, query: Query): string {
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
  return pairs.length === 0 ? path : `${path}?${pairs.join('&')}`
}

const sorted = (rows: readonly unknown[]): string[] => rows.map((row) => JSON.stringify(row)).toSorted()

async function contentsOfSqlite(file: string): Promise<Record<string, string[]>> {
  const database = new Database(file, { readonly: true })
  try {
    const names = database.prepare("select name from sqlite_master where type = 'table'").pluck().all() as string[]
    return Object.fromEntries(names.map((name) => [name, sorted(database.prepare(`select * from "${name}"`).all())]))
  } finally {
    database.close()
  }
}

async function contentsOfPostgres(url: string): Promise<Record<string, string[]>> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows: tables } = await client.query<{ name: string }>("select tablename as name from pg_tables where schemaname = 'public'")
    const contents: Record<string, string[]> = {}
    for (const { name } of tables) contents[name] = sorted((await client.query(`select * from "${name}"`)).rows)
    contents['sequences'] = sorted((await client.query('select sequencename, last_value from pg_sequences')).rows)
    return contents
  } finally {
    await client.end()
  }
}

/** A key as a store wants it, with the text that is shown for it. */
export function newKey(name: string, more: Partial<NewKey> = {}): NewKey & { readonly secret: string } {
  const secret = newSecret()
  return { name, digest: digestOf(secret), scopes: ['read', 'write'], prefix: '', validForMs: null, ...more, secret }
}

/** Makes a key that the service knows from now on, and says its id and its text. */
export async function makeKey(api: TestApp, name: string, scopes: readonly Scope[], more: Partial<NewKey> = {}) {
  const { secret, ...key } = newKey(name, { scopes, ...more })
  const { id } = await api.store.keys.create(key)
  await api.keys.refresh()
  return { id, secret }
}

/** Sends a request with a key; without one where there is none. */
export function sendWith<Body = unknown>(api: TestApp, secret: string | undefined, request: InjectOptions): Promise<Answer<Body>> {
  return api.send({ ...request, headers: { ...request.headers, ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }) } })
}
