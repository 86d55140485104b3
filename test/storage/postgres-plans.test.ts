import type { PoolClient } from 'pg'
import t, { type Test } from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { processId } from '../../src/locks/lock.js'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import { PostgresExecutor } from '../../src/storage/postgres/executor.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { acquire, convert, enqueue, force, inspect, keep, release, renew, renewAll, revoke, share, withTerms } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { openOn } from '../support/store.js'

/** A node of a plan, as EXPLAIN tells it. */
interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly Plans?: readonly Plan[]
}

/** How many rows of each kind there are when statistics are made: a few, and many. */
const SIZES = [30, 1500]
const BURST = 500
const GROWING = new Set(['resource_locks', 'lock_shares', 'lock_waiters', 'lock_requests', 'lock_events'])

/** What an instance sends for its callers all day, alone and together. Its own chores read all waiters. */
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
  [keep('t', 'p', 100)],
  [acquire('b', 'p', null, { id: 'r', fingerprint: 'f' })],
  [acquire('u', 'p', null, { id: 'u', fingerprint: 'f' })],
  [acquire('u', 'p', null, { id: 'u', fingerprint: 'f' }), { kind: 'find-request', idempotencyKey: { id: 'u', fingerprint: 'f' } }],
  [enqueue('u', 'q')],
  [{ ...acquire('v', 'q'), ticket: 1 }],
  [{ kind: 'dequeue', tickets: [1], keepFor: null }],
  [{ kind: 'dequeue-all', processId: processId('q'), prefix: '', key: null }],
  [renewAll('p', 1000)],
  [{ kind: 'renew-many', renewals: [renew('d', 'p', 1000)] }],
  [{ kind: 'release-many', releases: [release('d', 'p')] }],
  [revoke('s', 100)]
]

void t.test('no everyday statement reads more of a table than it asks for, whenever its plan was made', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openOn(database)
  await using opened = await openPostgres(database.url, 1, (error) => t.fail(String(error)))
  const executor = new PostgresExecutor(opened.batches, opened.db, { concurrency: 1, keepHistoryMs: 1000, random: Math.random, instance: 'x', wake: () => undefined })
  for (const commands of COMMANDS) {
    for (const result of await executor.execute(commands)) t.match(result, { kind: 'done' }, commands.map(({ kind }) => kind).join())
  }
  const client = await opened.batches.connect()
  try {
    const { rows: prepared } = await client.query<Prepared>('select name, statement from pg_prepared_statements')
    t.ok(prepared.length >= 20, `${prepared.length} statements`)
    await explainAll(t, 'hardly used', client, prepared)
    await t.test('in an empty database', async (t) => {
      await using empty = await freshDatabase('postgres')
      await using openedEmpty = await openPostgres(empty.url, 1, (error) => t.fail(String(error)))
      const beside = await openedEmpty.batches.connect()
      await explainAll(t, 'empty', beside, prepared).finally(() => beside.release())
    })
    await t.test('where one process held everything when it was analysed', async (t) => {
      await using other = await freshDatabase('postgres')
      await using filled = await openOn(other)
      await Promise.all(Array.from({ length: 100 }, (_, index) => filled.submit(acquire(`name/${index}`, 'p'))))
      await using openedOther = await openPostgres(other.url, 1, (error) => t.fail(String(error)))
      const beside = await openedOther.batches.connect()
      await beside.query('vacuum analyze resource_locks')
      await explainAll(t, 'one process', beside, prepared).finally(() => beside.release())
    })
    for (const [index, size] of SIZES.entries()) {
      await addRows(store, SIZES[index - 1] ?? 0, size)
      await client.query('analyze')
      await explainAll(t, `${size} rows`, client, prepared)
    }
    for (let index = 0; index < (SIZES.at(-1) ?? 0); index += 1) await store.submit(release(`shared/name/${index}`, 'p'))
    await client.query('analyze')
    await explainAll(t, 'ended shares', client, prepared)
  } finally {
    client.release()
  }
})

/** Locks with request ids and a waiter each, and as many shares. */
async function addRows(store: SqlLockStore, first: number, end: number): Promise<void> {
  for (let from = first; from < end; from += BURST) {
    const names = Array.from({ length: Math.min(BURST, end - from) }, (_, index) => `name/${from + index}`)
    await Promise.all(names.map((name) => store.submit(acquire(name, 'p', null, { id: name, fingerprint: 'f' }))))
    await Promise.all(names.map((name) => store.submit(enqueue(name, 'q'))))
    await Promise.all(names.map((name) => store.submit(share(`shared/${name}`, 'p'))))
  }
}

interface Prepared {
  readonly name: string
  readonly statement: string
}

async function explainAll(t: Test, when: string, client: PoolClient, prepared: readonly Prepared[]): Promise<void> {
  const { rows: indexes } = await client.query<{ name: string; first: string }>('select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid, 1, true) as first from pg_index')
  const firsts = new Map(indexes.map(({ name, first }) => [name, first]))
  for (const { name, statement } of prepared) {
    const { rows } = await client.query<{ 'QUERY PLAN': readonly { readonly Plan: Plan }[] }>(`explain (generic_plan, format json) ${statement}`)
    const plan = rows[0]?.['QUERY PLAN'][0]?.Plan
    t.same(plan === undefined ? ['no plan'] : readingMore(plan, firsts), [], `${when}, ${name}: ${statement.replaceAll(/\s+/g, ' ').slice(0, 200)}`)
  }
}

/** The nodes that read all of a table that grows, or all of an index since they do not ask for its first column. */
function readingMore({ 'Node Type': type, 'Relation Name': table = '', 'Index Name': index, 'Index Cond': condition = '', Plans: parts = [] }: Plan, firsts: ReadonlyMap<string, string>): string[] {
  const isWhole = type === 'Seq Scan' && GROWING.has(table)
  const first = firsts.get(index ?? '') ?? ''
  // Whether anybody waits at all is read from its first entry.
  const isSkipping = index !== undefined && index !== 'lock_waiters_ticket' && !condition.includes(first)
  return [...(isWhole ? [`${type} ${table}`] : []), ...(isSkipping ? [`${type} ${index} without ${first}: ${condition}`] : []), ...parts.flatMap((part) => readingMore(part, firsts))]
}
