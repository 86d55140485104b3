import type { AcquireCommand, Command, OutcomeOf } from '../../src/locks/commands.js'
import type { EpochMs, ResourceName } from '../../src/locks/lock.js'
import type { LockEvent, LockStore } from '../../src/locks/store.js'
import type { Model } from './model.js'
import type { Random } from '../support/random.js'

/** What the steps are made on: the stores of one or several instances on one database, its clock, its sweepers. */
export interface Bench {
  store(instance: number): LockStore
  setClock(at: EpochMs): Promise<void>
  /** Resolves to the events since it was last opened, read while nothing else goes on. */
  reopen(): Promise<readonly LockEvent[]>
}

/** Where steps are drawn from. The model tells what is so before the round; the round itself changes it. */
export interface Scene {
  readonly random: Random
  readonly model: Model
  /** What the rounds are about for a while. */
  focus: readonly ResourceName[]
  /** The instance that the next step goes to, and the names that are its own in this round: only then is their order known. */
  instance: number
  names: readonly ResourceName[]
  /** Whether steps about different names may take effect in any order. */
  overlapping: boolean
  /** The requests that bore an id lately. */
  readonly marked: AcquireCommand[]
  /** For which names an id stands in this round. */
  readonly claims: Map<string, string>
}

/**
 * When an answer is judged. What changes a resource is judged in the order in which it was submitted; what reads may have seen
 * any moment of its round, and comes last; what sweeps may have come before all of them.
 */
export type Turn = 'first' | 'in order' | 'last'

/** One random step. Resolves to its judgement, to be called in the order of the steps once all of them are answered. */
export interface Step {
  readonly kind: string
  readonly command: object
  readonly judged: Turn
  run(bench: Bench): Promise<Answered>
}

export interface Answered {
  readonly answer: unknown
  /** What is wrong with the answer; `concurrent`: other steps or a sweeper ran beside it. */
  judge(model: Model, concurrent: boolean): string | undefined
}

/** When a step must have the stores to itself because its order among other steps would not be known. */
type Alone = 'never' | 'where steps overlap' | 'always'

/** A row of the table of steps. */
export interface Row {
  readonly kind: string
  /** How often it is drawn, relative to the others. */
  readonly weight: number
  readonly alone: Alone
  draw(scene: Scene): Step
}

interface Definition<C extends object, A> {
  readonly weight: number
  readonly alone?: Alone
  readonly judged: Turn
  draw(scene: Scene): C
  run(bench: Bench, command: C, instance: number): Promise<A>
  judge(model: Model, command: C, answer: A, concurrent: boolean): string | undefined
}

export function row<C extends object, A>(kind: string, definition: Definition<C, A>): Row {
  const { weight, judged, alone = 'never' } = definition
  const draw = (scene: Scene): Step => {
    const { instance } = scene
    const command = definition.draw(scene)
    const run = async (bench: Bench): Promise<Answered> => {
      const answer = await definition.run(bench, command, instance)
      return { answer, judge: (model, concurrent) => definition.judge(model, command, answer, concurrent) }
    }
    return { kind, command, judged, run }
  }
  return { kind, weight, alone, draw }
}

/** A row for a command of the engine. */
export function command<C extends Command>(kind: C['kind'], definition: Omit<Definition<C, OutcomeOf<C>>, 'run'>): Row {
  return row<C, OutcomeOf<C>>(kind, { ...definition, run: (bench, command, instance) => bench.store(instance).submit(command) })
}
