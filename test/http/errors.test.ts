import Database from 'better-sqlite3'
import pg from 'pg'
import { pino } from 'pino'
import t from 'tap'
import { parseDatabaseUrl } from '../../src/storage/index.js'
import { TestApp } from '../support/app.js'
import { DATABASES } from '../support/databases.js'
import { duringOutage } from '../support/session.js'

const mine = { resource_name: 'a', process_id: 'p' }
const named = { resource_name: 'a' }

/** A logger that keeps its lines. */
function keepingLogger(level: string) {
  const lines: Record<string, unknown>[] = []
  return { lines, logger: pino({ level }, { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) }) }
}

/** Runs SQL beside the service, by a connection of its own. */
async function sabotage({ database }: TestApp, statement: string): Promise<void> {
  const location = parseDatabaseUrl(database.url)
  if (location.kind === 'sqlite') {
    new Database(location.file).exec(statement).close()
    return
  }
  const client = new pg.Client({ connectionString: location.url })
  await client.connect()
  await client.query(statement)
  await client.end()
}

for (const kind of DATABASES) {
  void t.test(`a bug is told to the log with its stack and the request, and to the caller not at all (${kind})`, async (t) => {
    const { lines, logger } = keepingLogger('info')
    await using api = await TestApp.open(kind, { logger })
    await sabotage(api, 'drop table resource_locks')
    for (const answer of [await api.post('/locks/request', mine), await api.delete('/locks/release', mine), await api.get('/locks/all-locked')]) {
      t.equal(answer.status, 500)
      t.strictSame(answer.body, { detail: 'Internal Server Error', code: 'INTERNAL' })
      t.match(lines.pop(), { level: 50, reqId: /^req-/, err: { message: /resource_locks/, stack: /\n\s+at / } })
    }
    t.strictSame(lines, [], 'one line each')
  })
}

void t.test('a line for each request is logged at debug, without what was asked', async (t) => {
  for (const [level, expected] of [['info', 0], ['debug', 2]] as const) {
    const { lines, logger } = keepingLogger(level)
    await using api = await TestApp.open('sqlite', { logger })
    await api.get('/locks/status', { resource_name: 'private' })
    await api.post('/locks/request', { ...mine, resource_name: 'private' })
    t.equal(lines.length, expected, level)
    for (const line of lines) t.match(line, { level: 20, method: String, route: /^\/locks\//, status: 200, ms: Number })
    t.notMatch(JSON.stringify(lines), 'private')
  }
})

void t.test('a database that is away is 503, never locked and never free, and the service recovers by itself', async (t) => {
  await using api = await TestApp.open('postgres')
  await api.post('/locks/request', mine)
  await duringOutage(api.database, async () => {
    // Whatever was still under way on the broken connections.
    t.match(await api.get('/locks/status', named), { status: 503 })
    for (const answer of [await api.post('/locks/request', mine), await api.get('/locks/status', named), await api.get('/locks/all-locked')]) {
      t.equal(answer.status, 503)
      t.match(answer.headers, { 'retry-after': '1' })
      t.strictSame(answer.body, { detail: 'The database is not available; nothing was changed', code: 'STORAGE_UNAVAILABLE' })
    }
    const health = await api.get('/health')
    t.equal(health.status, 503)
    t.strictSame(health.body, { status: 'unhealthy', service: 'Resource Lock Manager', database: 'unavailable' })
    t.match(await api.get('/readyz'), { status: 503, body: { status: 'not ready' } })
    t.match(await api.get('/livez'), { status: 200, body: { status: 'alive' } })
  })
  t.match(await api.get('/locks/status', named), { status: 200, body: { data: { is_locked: true } } })
  t.match(await api.get('/health'), { status: 200 })
})
