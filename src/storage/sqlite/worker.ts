import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { sql } from 'kysely'
import { LockError } from '../../locks/errors.js'
import type { EpochMs } from '../../locks/lock.js'
import { SqlKeyStore } from '../api-keys.js'
import { SqlReads } from '../reads.js'
import { commandFromBrief, toBrief } from './encoding.js'
import { toLockError } from './errors.js'
import { SqliteExecutor, type TimedCommand } from './executor.js'
import { indexedEvents } from './event-indexer.js'
import { OPENED, toSent, type Answer, type Question, type ThreadOptions } from './protocol.js'
import { asStartupError, openMigrated, shortenLog, type OpenSqlite } from './connection.js'
import { isLive } from './wait-queue.js'

/**
 * The thread that has a SQLite file, so that neither a commit's flush nor a checkpoint, a long list or the sweeper ever holds
 * up the service's event loop.
 */

type Batch = Extract<Question, { kind: 'execute' }>

/** Rows that one statement may count: a millisecond or two, in which no batch is carried out. */
const COUNT_AT_ONCE = 2000

const { file, keepHistoryMs } = workerData as ThreadOptions
let now: EpochMs = 0
let wakeups: number[] = []

/** Arguments and results travel as JSON; their types are those of the method on the other side. */
function call<Methods extends object>(methods: Methods, what: keyof Methods, args: readonly unknown[]): Promise<unknown> {
  return (methods[what] as (...args: readonly unknown[]) => Promise<unknown>).call(methods, ...args)
}

function say(...answers: readonly Answer[]): void {
  parentPort?.postMessage(JSON.stringify(answers))
}

function serve(opened: OpenSqlite): void {
  const { database, db, reserve } = opened
  const executor = new SqliteExecutor(database, db, { keepHistoryMs, reserve, onWakeup: (ticket) => wakeups.push(ticket) })
  const reads = new SqlReads({
    db,
    now: () => sql.val(now),
    live: () => isLive(sql.val(now)),
    countAtOnce: COUNT_AT_ONCE,
    events: indexedEvents(db),
    mayHaveGaps: false
  })
  const keys = new SqlKeyStore({ db, now: () => sql.val(now), toLockError })
  const alive = database.prepare('select 1 from lock_numbers')

  /** Carries out batches with one commit. */
  function execute(batches: readonly Batch[]): void {
    if (batches.length === 0) return
    wakeups = []
    const timed = batches.flatMap(({ now, commands }) => commands.map((brief): TimedCommand => ({ command: commandFromBrief(brief), now })))
    const settled = executor.execute(timed).map((settlement, index) => {
      const { command, now } = timed[index] as TimedCommand
      if (settlement.kind === 'done') return toBrief(command, settlement.outcome, now)
      return { kind: 'failed', error: toSent(settlement.kind === 'failed' ? settlement.error : new Error('a batch lost a command')) } as const
    })
    let from = 0
    say(...batches.map(({ id, commands }, index) => ({ id, settled: settled.slice(from, (from += commands.length)), wakeups: index === 0 ? wakeups : [] })))
    if (timed.some(({ command }) => command.kind === 'sweep')) shortenLog(database)
  }

  /** Throws a LockError when the database cannot be read or has no room. */
  function ping(): void {
    alive.get()
    if (reserve !== undefined && !reserve.allocate()) throw new LockError('STORAGE_FULL')
  }

  async function answer(question: Exclude<Question, Batch>): Promise<void> {
    const { id, kind } = question
    try {
      if (kind === 'read') return say({ id, value: await call(reads, question.what, question.args) })
      if (kind === 'keys') return say({ id, value: await call(keys, question.what, question.args) })
      if (kind === 'ping') ping()
      if (kind === 'close') {
        opened[Symbol.dispose]()
        parentPort?.close()
      }
      say({ id, value: null })
    } catch (error) {
      say({ id, failed: toSent(toLockError(error)) })
    }
  }

  parentPort?.on('message', (first: string) => {
    let batches: Batch[] = []
    for (let text: string | undefined = first; text !== undefined; text = next()) {
      const question = JSON.parse(text) as Question
      ;({ now } = question)
      if (question.kind === 'execute') batches.push(question)
      else {
        execute(batches)
        batches = []
        void answer(question)
      }
    }
    execute(batches)
  })
}

/** What has come since, without waiting for it. */
function next(): string | undefined {
  return parentPort === null ? undefined : (receiveMessageOnPort(parentPort)?.message as string | undefined)
}

try {
  const opened = await openMigrated(file)
  try {
    serve(opened)
  } catch (error) {
    throw asStartupError(error, opened.database.name)
  }
  say({ id: OPENED, value: opened.warnings })
} catch (error) {
  say({ id: OPENED, failed: toSent(error) })
}
