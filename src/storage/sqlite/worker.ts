import { fdatasyncSync } from 'node:fs'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { LockError } from '../../locks/errors.js'
import type { EpochMs } from '../../locks/lock.js'
import { SqlKeyStore } from '../api-keys.js'
import { missing } from '../batcher.js'
import { SqlReads } from '../reads.js'
import { asStartupError, Checkpointer, openMigrated, shortenLog, toLockError, type OpenSqlite } from './connection.js'
import { eventIndex } from './context.js'
import { SqliteExecutor, type TimedCommand } from './executor.js'
import { CheckpointState, decodeCommand, encodeError, encodeResult, type CheckpointOptions, type EncodedResult, type WorkerRequest, type WorkerResponse } from './protocol.js'
import { isLive } from './wait-queue.js'

/** Rows that one statement may count: a millisecond or two, in which no batch is executed. */
const COUNT_AT_ONCE = 2000

type ExecuteRequest = Extract<WorkerRequest, { kind: 'execute' }>
type OpenRequest = Extract<WorkerRequest, { kind: 'open' }>
/** What is answered by itself. */
type CallRequest = Exclude<WorkerRequest, ExecuteRequest | OpenRequest>

/** Serves a SQLite file in a thread of its own, so that flushes, checkpoints, long lists and the sweeper never block the service's event loop. */
class WorkerServer {
  readonly #opened: OpenSqlite
  readonly #executor: SqliteExecutor
  readonly #reads: SqlReads
  readonly #keys: SqlKeyStore
  readonly #ping: Database.Statement
  readonly #checkpointer: Checkpointer | undefined
  /** The clock of the latest request. */
  #now: EpochMs = 0
  #wakeups: number[] = []

  constructor(opened: OpenSqlite, keepHistoryMs: number) {
    const { database, db, reserve, handle } = opened
    const now = () => sql.val(this.#now)
    this.#opened = opened
    this.#executor = new SqliteExecutor(database, db, { keepHistoryMs, reserve, onWakeup: (ticket) => this.#wakeups.push(ticket) })
    this.#reads = new SqlReads({
      db,
      now,
      live: () => isLive(now()),
      countAtOnce: COUNT_AT_ONCE,
      events: eventIndex(db),
      mayHaveGaps: false
    })
    this.#keys = new SqlKeyStore({ db, now, toLockError })
    this.#ping = database.prepare('select 1 from lock_numbers')
    this.#checkpointer = handle === undefined ? undefined : new Checkpointer(database, handle)
  }

  /** Handles a message and all that have arrived since, the batches among them together. */
  receive(first: string): void {
    let batches: ExecuteRequest[] = []
    for (let text: string | undefined = first; text !== undefined; text = nextMessage()) {
      const request = JSON.parse(text) as ExecuteRequest | CallRequest
      this.#now = request.now
      if (request.kind === 'execute') batches.push(request)
      else {
        this.#execute(batches)
        batches = []
        void this.#answer(request)
      }
    }
    this.#execute(batches)
  }

  /** Executes batches with one commit. */
  #execute(batches: readonly ExecuteRequest[]): void {
    if (batches.length === 0) return
    this.#wakeups = []
    const timed = batches.flatMap(({ now, commands }) => commands.map((encoded): TimedCommand => ({ command: decodeCommand(encoded), now })))
    const results = this.#executor.execute(timed)
    const encoded = timed.map(({ command, now }, index): EncodedResult => encodeResult(command, results[index] ?? missing(command), now))
    let from = 0
    send(...batches.map(({ id, commands }, index) => {
      const part = encoded.slice(from, (from += commands.length))
      return { kind: 'results', id, results: part, wakeups: index === 0 ? this.#wakeups : [] } as const
    }))
    this.#checkpointer?.committed()
    if (timed.some(({ command }) => command.kind === 'sweep')) shortenLog(this.#opened.database)
  }

  async #answer(request: CallRequest): Promise<void> {
    const { id } = request
    try {
      send({ kind: 'value', id, value: await this.#valueOf(request) })
    } catch (error) {
      send({ kind: 'error', id, error: encodeError(toLockError(error)) })
    }
  }

  async #valueOf(request: CallRequest): Promise<unknown> {
    switch (request.kind) {
      case 'read':
        return await call(this.#reads, request.method, request.args)
      case 'keys':
        return await call(this.#keys, request.method, request.args)
      case 'ping':
        this.#ping.get()
        if (this.#opened.reserve?.allocate() === false) throw new LockError('STORAGE_FULL')
        return null
      case 'close':
        await this.#checkpointer?.[Symbol.asyncDispose]()
        this.#opened[Symbol.dispose]()
        server = undefined
        return null
    }
  }
}

/** The sender has checked the arguments against the type of the method. */
function call<Methods extends object>(methods: Methods, method: keyof Methods, args: readonly unknown[]): Promise<unknown> {
  return (methods[method] as (...args: readonly unknown[]) => Promise<unknown>).call(methods, ...args)
}

function send(...responses: readonly WorkerResponse[]): void {
  parentPort?.postMessage(JSON.stringify(responses))
}

/** The next message, if one has arrived. */
function nextMessage(): string | undefined {
  return parentPort === null ? undefined : (receiveMessageOnPort(parentPort)?.message as string | undefined)
}

/** The file that the thread has at present. */
let server: WorkerServer | undefined

async function open({ id, file, keepHistoryMs }: OpenRequest): Promise<void> {
  try {
    const opened = await openMigrated(file)
    try {
      server = new WorkerServer(opened, keepHistoryMs)
    } catch (error) {
      throw asStartupError(error, opened.database.name)
    }
    send({ kind: 'value', id, value: opened.warnings })
  } catch (error) {
    send({ kind: 'error', id, error: encodeError(error) })
  }
}

/** Serves one file after another. */
function serve(): void {
  parentPort?.on('message', (text: string) => {
    if (server === undefined) void open(JSON.parse(text) as OpenRequest)
    else server.receive(text)
  })
}

/** The thread of a `Checkpointer`: each message asks for one move. */
function moveLogs({ checkpoints, handle, state }: CheckpointOptions): void {
  const database = new Database(checkpoints)
  const move = database.prepare('pragma wal_checkpoint(passive)')
  parentPort?.on('message', () => {
    try {
      move.all()
      // SQLite flushes the database only when all is moved, and before the log begins anew: that is quick when little is left.
      fdatasyncSync(handle)
    } catch {
      // The disk is full or broken: the commits report it.
    } finally {
      Atomics.store(state, 0, CheckpointState.moved)
    }
  })
}

const options = workerData as CheckpointOptions | null
if (options === null) serve()
else moveLogs(options)
