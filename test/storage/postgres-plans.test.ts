import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import { PostgresExecutor } from '../../src/storage/postgres/executor.js'
import { acquire, convert, force, inspect, keep, release, renew, share, withTerms } from '../support/commands.js'
import { besideService, freshDatabase } from '../support/databases.js'
import { openOn } from '../support/store.js'

/** A node of a plan, as EXPLAIN tells it. */
interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Cond'?: string
  readonly Plans?: readonly Plan[]
}

/** Few enough to be read whole, were a statement expected to ask for a thousand names, and too many for the ten that it is expected to ask for. */
const ROWS = 1500
const BURST = 500

/** What an instance sends all day, alone and together. */
const COMMANDS: readonly (readonly Command[])[] = [
  [acquire('a', 'p')],
  [acquire('b', 'p', null, { id: 'r', fingerprint: 'f' })],
  [acquire(['c', 'd'], 'p')],
  [renew('a', 'p', 1000)],
  [inspect('a')],
  [release('a', 'p'), acquire('e', 'p')],
  [release('e', 'p')],
  [force('b', 'test')],
  [{ ...release('c', 'p'), unlessClaimed: { id: 'r', fingerprint: 'f' } }],
  [share('s', 'p', { limit: 3 }), share('s', 'q', { limit: 3 })],
  [renew('s', 'p', 1000), release('s', 'q')],
  [convert('s', 'p', null)],
  [withTerms('t', 'p', { lockDelayMs: 100 })],
  [keep('t', 'p', 100)]
]

void t.test('no everyday statement reads the whole table, also when its plan was made while that was small', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openOn(database)
  for (let made = 0; made < ROWS; made += BURST) {
    const names = Array.from({ length: BURST }, (_, index) => `name/${made + index}`)
    await Promise.all(names.map((name) => store.submit(acquire(name, 'p'))))
    await Promise.all(names.map((name) => store.submit(release(name, 'p'))))
  }
  await besideService(database, 'analyze')
  await using opened = await openPostgres(database.url, 1, (error) => t.fail(String(error)))
  const executor = new PostgresExecutor(opened.batches, opened.db, { concurrency: 1, keepHistoryMs: 1000, random: Math.random, instance: 'x', wake: () => undefined })
  for (const commands of COMMANDS) {
    for (const result of await executor.execute(commands)) t.match(result, { kind: 'done' }, commands.map(({ kind }) => kind).join())
  }
  const client = await opened.batches.connect()
  try {
    const { rows: prepared } = await client.query<{ name: string; statement: string }>('select name, statement from pg_prepared_statements')
    t.ok(prepared.length >= 12, `${prepared.length} statements`)
    for (const { name, statement } of prepared) {
      const { rows } = await client.query<{ 'QUERY PLAN': readonly { readonly Plan: Plan }[] }>(`explain (generic_plan, format json) ${statement}`)
      const plan = rows[0]?.['QUERY PLAN'][0]?.Plan
      t.same(readingAll(plan), [], `${name}: ${statement.replaceAll(/\s+/g, ' ').slice(0, 200)}`)
    }
  } finally {
    client.release()
  }
})

/** The nodes that read every lock. */
function readingAll(plan: Plan | undefined): string[] {
  if (plan === undefined) return ['no plan']
  const { 'Node Type': type, 'Relation Name': table, 'Index Cond': condition, Plans: parts = [] } = plan
  const all = table === 'resource_locks' && type.includes('Scan') && type !== 'Bitmap Heap Scan' && condition === undefined
  return [...(all ? [type] : []), ...parts.flatMap(readingAll)]
}
