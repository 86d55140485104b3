import type { Command, OutcomeOf } from '../locks/commands.js'
import { LockError } from '../locks/errors.js'
import { Histogram } from '../locks/metrics.js'

/** What became of one command of a batch. `retry`: it lost a race and nothing was changed; it goes into the next batch. */
export type CommandResult =
  | { readonly kind: 'done'; readonly outcome: OutcomeOf<Command> }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'retry' }

export const RETRY: CommandResult = { kind: 'retry' }

/** A fault in what concerns one command, such as a row that cannot be read, fails that command alone. */
export function attempt(settle: () => CommandResult): CommandResult {
  try {
    return settle()
  } catch (error) {
    return { kind: 'failed', error: error instanceof Error ? error : new Error(String(error)) }
  }
}

/** How a database carries out many commands with one commit. */
export interface BatchExecutor {
  /** How many batches may be under way at once. */
  readonly concurrency: number
  /**
   * True when a batch takes effect one command after another, and the batches in the order in which they were handed over,
   * so that commands for one name may share a batch and be under way in several.
   */
  readonly sequential: boolean
  /** So many commands make a batch that is worth its while before the turn is over; Infinity keeps a turn together. */
  readonly minEarlyBatch: number
  /** Settles each command, in their order, after the commit. Never rejects. */
  execute(commands: readonly Command[]): CommandResult[] | Promise<CommandResult[]>
}

interface QueuedCommand {
  readonly command: Command
  readonly settle: (result: CommandResult) => void
  tries: number
}

export interface BatcherLimits {
  /** Commands in one batch; bounds how long a batch holds its row locks. */
  readonly maxBatch: number
  /** Commands that may wait. Beyond it requests and reads are refused; at twice it, releases and renewals too. */
  readonly maxWaiting: number
  /** How long commands may wait for a smaller number under way before they go beside it, in milliseconds: longer than a commit takes. */
  readonly maxBatchDelayMs: number
}

const BATCH_COMMANDS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
const BATCH_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Which part of all commands in hand is enough to begin a batch before the turn is over. */
const EARLY_FLUSH_FRACTION = 1 / 4

const MOST_TRIES = 100
const SHED_LAST: ReadonlySet<Command['kind']> = new Set([
  'release',
  'release-many',
  'renew',
  'renew-many',
  'renew-all',
  'dequeue',
  'dequeue-all',
  'purge-tickets',
  'heartbeat'
])

/**
 * Group commit: commands that arrive while earlier ones commit are collected and committed together.
 *
 * No command waits for company. The first one of a quiet moment starts a batch at the end of the same turn of the event loop,
 * with whatever else came in that turn; the next batch is whatever gathered meanwhile. Of a long turn a part goes ahead. The
 * only timer lets commands pass a batch that takes long.
 */
export class Batcher {
  readonly figures = { batchCommands: new Histogram(BATCH_COMMANDS), batchSeconds: new Histogram(BATCH_SECONDS) }
  readonly #executor: BatchExecutor
  readonly #limits: BatcherLimits
  #waiting: QueuedCommand[] = []
  /** Names with a command under way; their next command waits, so that a name's commands keep their order. */
  readonly #busy = new Set<string>()
  #batchesInFlight = 0
  #scheduled = false
  /** Commands that came since a batch was last taken. */
  #newCommands = 0
  /** Commands in batches under way. */
  #commandsInFlight = 0
  #delayTimer: NodeJS.Timeout | undefined
  readonly #onIdle: (() => void)[] = []

  constructor(executor: BatchExecutor, limits: BatcherLimits) {
    this.#executor = executor
    this.#limits = limits
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    // Letting go and staying alive are shed last: they end work or keep it from being done twice.
    const room = SHED_LAST.has(command.kind) ? this.#limits.maxWaiting * 2 : this.#limits.maxWaiting
    if (this.#waiting.length >= room) return Promise.reject(new LockError('OVERLOADED'))
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        command,
        tries: 0,
        settle: (result) => {
          if (result.kind === 'done') resolve(result.outcome as OutcomeOf<C>)
          else if (result.kind === 'failed') reject(result.error)
        }
      })
      this.#newCommands += 1
      if (this.#isEarlyBatch()) this.#start('now')
      else this.#schedule()
    })
  }

  /** Resolves when nothing is waiting and nothing is under way. */
  idle(): Promise<void> {
    if (this.#batchesInFlight === 0 && this.#waiting.length === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle.push(resolve)
    })
  }

  /**
   * A part of a long turn goes ahead, so that the database works while the rest is being read: with everything in one batch the
   * two would wait for each other in turns. Not too small a part, or what every batch costs is paid too often; and a lane is
   * left for the end of the turn.
   */
  #isEarlyBatch(): boolean {
    const minEarlyBatch = Math.max(this.#executor.minEarlyBatch, (this.#waiting.length + this.#commandsInFlight) * EARLY_FLUSH_FRACTION)
    return this.#newCommands >= minEarlyBatch && this.#batchesInFlight < this.#executor.concurrency - 1
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#batchesInFlight >= this.#executor.concurrency) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#start()
    })
  }

  /** @param when `worth-it`: a batch beside others is not begun for less than they carry. */
  #start(when: 'now' | 'worth-it' = 'worth-it'): void {
    while (this.#waiting.length > 0 && this.#batchesInFlight < this.#executor.concurrency) {
      if (when === 'worth-it' && this.#waiting.length < this.#commandsInFlight) {
        // What is under way may wait for a row or a slow disk: that must not hold up the others.
        this.#delayTimer ??= setTimeout(() => {
          this.#delayTimer = undefined
          this.#start('now')
        }, this.#limits.maxBatchDelayMs)
        break
      }
      const batch = this.#take()
      if (batch.length === 0) break
      void this.#run(batch)
    }
    if (this.#waiting.length > 0) return
    clearTimeout(this.#delayTimer)
    this.#delayTimer = undefined
  }

  /** Takes the next batch: in order of arrival, leaving what has to wait for an earlier command of the same name. */
  #take(): QueuedCommand[] {
    this.#newCommands = 0
    if (this.#executor.sequential) return this.#waiting.splice(0, this.#limits.maxBatch)
    const batch: QueuedCommand[] = []
    const left: QueuedCommand[] = []
    const blocked = new Set<string>()
    /** The names in the batch, and what else may touch them in it. */
    const taken = new Map<string, string>()
    for (const entry of this.#waiting) {
      const names = namesOf(entry.command)
      const sharing = sharingOf(entry.command)
      const free = (name: string): boolean =>
        !blocked.has(name) && !this.#busy.has(name) && (!taken.has(name) || (sharing !== '' && taken.get(name) === sharing))
      if (batch.length < this.#limits.maxBatch && names.every(free)) {
        batch.push(entry)
        for (const name of names) taken.set(name, sharing)
      } else {
        left.push(entry)
        for (const name of names) blocked.add(name)
      }
    }
    for (const name of taken.keys()) this.#busy.add(name)
    this.#waiting = left
    return batch
  }

  async #run(batch: QueuedCommand[]): Promise<void> {
    this.#batchesInFlight += 1
    this.#commandsInFlight += batch.length
    const began = performance.now()
    const results = await this.#execute(batch.map((entry) => entry.command))
    this.#batchesInFlight -= 1
    this.#commandsInFlight -= batch.length
    this.figures.batchCommands.observe(batch.length)
    this.figures.batchSeconds.observe((performance.now() - began) / 1000)
    if (!this.#executor.sequential) for (const { command } of batch) for (const name of namesOf(command)) this.#busy.delete(name)
    const retries = batch.filter((entry, index) => results[index]?.kind === 'retry' && (entry.tries += 1) < MOST_TRIES)
    if (retries.length > 0) this.#waiting = [...retries, ...this.#waiting]
    // Before this batch is answered: the database works on the next one meanwhile.
    this.#start()
    for (const [index, entry] of batch.entries()) {
      const result = results[index] ?? missing(entry.command)
      if (result.kind !== 'retry') entry.settle(result)
      else if (entry.tries >= MOST_TRIES) entry.settle({ kind: 'failed', error: new LockError('OVERLOADED') })
    }
    if (this.#batchesInFlight === 0 && this.#waiting.length === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** An executor that breaks its promise must not cost more than this batch. */
  async #execute(commands: readonly Command[]): Promise<CommandResult[]> {
    try {
      return await this.#executor.execute(commands)
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause))
      return commands.map(() => ({ kind: 'failed', error }))
    }
  }
}

/** The names whose commands must keep their order; none for what only reads or minds its own row locks. */
function namesOf(command: Command): readonly string[] {
  switch (command.kind) {
    case 'acquire':
      return command.resourceNames
    case 'release':
    case 'renew':
      return [command.resourceName]
    case 'release-many':
      return command.releases.map(({ resourceName }) => resourceName)
    case 'renew-many':
      return command.renewals.map(({ resourceName }) => resourceName)
    case 'renew-all':
    case 'inspect':
    case 'sweep':
    case 'enqueue':
    case 'find-request':
    case 'dequeue':
    case 'dequeue-all':
    case 'purge-tickets':
    case 'heartbeat':
      return []
  }
}

/**
 * Requests for one name that wait together are concurrent: one goes to the database, the others share its answer; and so do
 * releases. Commands with the same word here may share a name in one batch; an empty one shares with nobody.
 */
function sharingOf(command: Command): string {
  if (command.kind === 'acquire') return command.resourceNames.length === 1 ? 'acquire' : ''
  return command.kind === 'release' ? 'release' : ''
}

export function missing(command: Command): CommandResult {
  return { kind: 'failed', error: new Error(`a batch lost its ${command.kind} command`) }
}
