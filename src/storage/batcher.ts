import { traitsOf, type Command, type OutcomeOf } from '../locks/commands.js'
import { LockError } from '../locks/errors.js'
import { Histogram } from '../locks/metrics.js'

/** The result of one command of a batch. `retry`: it lost a race and changed nothing; it goes into the next batch. */
export type CommandResult =
  | { readonly kind: 'done'; readonly outcome: OutcomeOf<Command> }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'retry' }

export const RETRY: CommandResult = { kind: 'retry' }

export function done(outcome: OutcomeOf<Command>): CommandResult {
  return { kind: 'done', outcome }
}

/** A fault that concerns one command, such as a row that cannot be read, fails that command alone. */
export function attempt(execute: () => CommandResult): CommandResult {
  try {
    return execute()
  } catch (error) {
    return { kind: 'failed', error: error instanceof Error ? error : new Error(String(error)) }
  }
}

/** Executes many commands with one commit. */
export interface BatchExecutor {
  /** How many batches may be in flight at once. */
  readonly concurrency: number
  /**
   * True when a batch takes effect one command after another, and batches in the order in which they were started: then
   * commands for one resource may share a batch and be in flight in several.
   */
  readonly sequential: boolean
  /** The least number of commands for which a batch starts before the turn ends; Infinity keeps a turn together. */
  readonly minEarlyBatch: number
  /** Resolves to the result of each command, in their order, after the commit. Never rejects. */
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
  /** Commands that may wait; twice that for those that are shed last. */
  readonly maxWaiting: number
  /** How long fewer commands than are in flight wait for those, in milliseconds: longer than a commit takes. */
  readonly maxBatchDelayMs: number
}

export const BATCHER_LIMITS: BatcherLimits = { maxBatch: 256, maxWaiting: 10_000, maxBatchDelayMs: 5 }

const BATCH_COMMANDS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
const BATCH_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** The part of all commands, waiting or in flight, for which a batch starts before the turn ends. */
const EARLY_FLUSH_FRACTION = 1 / 4

/** An acquire that lost that many races is rejected. */
const MOST_TRIES = 100

/**
 * Group commit: commands that arrive while a batch commits are collected and committed together.
 *
 * 1. A command that arrives while fewer than `concurrency` batches are in flight (2 on PostgreSQL, 8 on SQLite) starts a
 *    batch at the end of the present turn of the event loop, together with everything else of that turn. It does not wait
 *    for more.
 * 2. A batch takes at most 256 commands, in order of arrival. Where batches run side by side, a command stays behind while an
 *    earlier command for one of its resources is in flight or stays behind itself, so that each resource sees its commands in
 *    order. Only acquires of one single resource, or only releases, may share a batch for it.
 * 3. A batch beside others starts only for at least as many commands as are in flight, so that batches grow with the load;
 *    after 5 ms it starts for fewer. That is longer than a commit takes: the batch in flight is blocked by a row lock or a
 *    slow disk, which must not delay the others.
 * 4. In a long turn a batch starts before the end, so that the database works while more requests are read: as soon as the
 *    new commands are at least 32 and a quarter of all that wait or are in flight. One of the `concurrency` batches is left
 *    for the end of the turn.
 * 5. When a batch has committed, the next one starts before the results are delivered. Commands that lost a race go into it
 *    first.
 * 6. While 10,000 commands wait, further ones are rejected with `OVERLOADED`; releases, renewals and what else is shed last
 *    (see `COMMAND_TRAITS`), while 20,000 wait.
 */
export class Batcher {
  readonly figures = { batchCommands: new Histogram(BATCH_COMMANDS), batchSeconds: new Histogram(BATCH_SECONDS) }
  readonly #executor: BatchExecutor
  readonly #limits: BatcherLimits
  #waiting: QueuedCommand[] = []
  /** Resources with a command in flight. */
  readonly #busy = new Set<string>()
  #batchesInFlight = 0
  #scheduled = false
  /** Commands that arrived since the last batch was taken. */
  #newCommands = 0
  #commandsInFlight = 0
  #delayTimer: NodeJS.Timeout | undefined
  readonly #onIdle: (() => void)[] = []

  constructor(executor: BatchExecutor, limits: BatcherLimits) {
    this.#executor = executor
    this.#limits = limits
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    const room = traitsOf(command).shedLast ? this.#limits.maxWaiting * 2 : this.#limits.maxWaiting
    if (this.#waiting.length >= room) return Promise.reject(new LockError('OVERLOADED'))
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        command,
        tries: 0,
        settle: (result) => {
          if (result.kind === 'done') resolve(result.outcome)
          else if (result.kind === 'failed') reject(result.error)
        }
      })
      this.#newCommands += 1
      if (this.#isEarlyBatch()) this.#start('now')
      else this.#schedule()
    })
  }

  /** Resolves when no command is waiting or in flight. */
  idle(): Promise<void> {
    if (this.#batchesInFlight === 0 && this.#waiting.length === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle.push(resolve)
    })
  }

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

  /** @param when `worth-it` starts no batch for fewer commands than are in flight. */
  #start(when: 'now' | 'worth-it' = 'worth-it'): void {
    while (this.#waiting.length > 0 && this.#batchesInFlight < this.#executor.concurrency) {
      if (when === 'worth-it' && this.#waiting.length < this.#commandsInFlight) {
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

  #take(): QueuedCommand[] {
    this.#newCommands = 0
    if (this.#executor.sequential) return this.#waiting.splice(0, this.#limits.maxBatch)
    const batch: QueuedCommand[] = []
    const left: QueuedCommand[] = []
    const blocked = new Set<string>()
    /** The resources of the batch, each with the kind of command that may share it, or null. */
    const taken = new Map<string, Command['kind'] | null>()
    for (const entry of this.#waiting) {
      const { command } = entry
      const traits = traitsOf(command)
      const resources = traits.resources(command)
      const sharing = traits.sharesBatch?.(command) === true ? command.kind : null
      const isFree = (name: string): boolean =>
        !blocked.has(name) && !this.#busy.has(name) && (!taken.has(name) || (sharing !== null && taken.get(name) === sharing))
      if (batch.length < this.#limits.maxBatch && resources.every(isFree)) {
        batch.push(entry)
        for (const name of resources) taken.set(name, sharing)
      } else {
        left.push(entry)
        for (const name of resources) blocked.add(name)
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
    if (!this.#executor.sequential) for (const { command } of batch) for (const name of traitsOf(command).resources(command)) this.#busy.delete(name)
    const retries = batch.filter((entry, index) => results[index]?.kind === 'retry' && (entry.tries += 1) < MOST_TRIES)
    if (retries.length > 0) this.#waiting = [...retries, ...this.#waiting]
    // Before the results are delivered, so that the database works on the next batch meanwhile.
    this.#start()
    for (const [index, entry] of batch.entries()) {
      const result = results[index] ?? missing(entry.command)
      if (result.kind !== 'retry') entry.settle(result)
      else if (entry.tries >= MOST_TRIES) entry.settle({ kind: 'failed', error: new LockError('OVERLOADED') })
    }
    if (this.#batchesInFlight === 0 && this.#waiting.length === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** An executor that rejects although it must not fails only this batch. */
  async #execute(commands: readonly Command[]): Promise<CommandResult[]> {
    try {
      return await this.#executor.execute(commands)
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause))
      return commands.map(() => ({ kind: 'failed', error }))
    }
  }
}

export function missing(command: Command): CommandResult {
  return { kind: 'failed', error: new Error(`a batch lost its ${command.kind} command`) }
}
