import type { AcquireCommand, Command, OutcomeOf, ReleaseCommand } from '../../src/locks/commands.js'
import { processId, resourceName, type EpochMs, type Metadata, type ResourceName } from '../../src/locks/lock.js'
import type { ListQuery, LockStore } from '../../src/locks/lock-store.js'
import { KEEP_ENDED_MS } from '../../src/storage/rows.js'
import { matches, type CountQuery } from './model-list.js'
import type { Model } from './model.js'
import type { Random } from './random.js'

/** What the steps are made on: the stores of one or several instances on one database, its clock, its sweepers. */
export interface Bench {
  /** Within one round all commands for one name go to one instance; only then is their order known. */
  storeFor(name: ResourceName | null): LockStore
  setClock(at: EpochMs): Promise<void>
  reopen(): Promise<void>
}

/** Where steps are drawn from. The model tells what is so before the round; the round itself changes it. */
export interface Scene {
  readonly random: Random
  readonly model: Model
  /** The names that this round is about. */
  names: readonly ResourceName[]
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

/** A row of the table of steps. */
export interface Row {
  readonly kind: string
  /** How often it is drawn, relative to the others. */
  readonly weight: number
  /** Must have the stores to itself: its order among other steps would not be known. */
  readonly alone: boolean
  draw(scene: Scene): Step
}

interface Definition<C extends object, A> {
  readonly weight: number
  readonly alone?: true
  readonly judged: Turn
  draw(scene: Scene): C
  run(bench: Bench, command: C): Promise<A>
  judge(model: Model, command: C, answer: A, concurrent: boolean): string | undefined
}

function row<C extends object, A>(kind: string, definition: Definition<C, A>): Row {
  const { weight, judged, alone = false } = definition
  const draw = (scene: Scene): Step => {
    const command = definition.draw(scene)
    const run = async (bench: Bench): Promise<Answered> => {
      const answer = await definition.run(bench, command)
      return { answer, judge: (model, concurrent) => definition.judge(model, command, answer, concurrent) }
    }
    return { kind, command, judged, run }
  }
  return { kind, weight, alone, draw }
}

/** A row for a command of the engine: it is submitted to the instance that has its name in this round. */
function command<C extends Command>(kind: C['kind'], definition: Omit<Definition<C, OutcomeOf<C>>, 'run'>): Row {
  return row<C, OutcomeOf<C>>(kind, { ...definition, run: (bench, command) => bench.storeFor(nameOf(command)).submit(command) })
}

function nameOf(command: Command): ResourceName | null {
  if (command.kind === 'acquire') return command.resourceNames[0] ?? null
  return 'resourceName' in command ? command.resourceName : null
}

/** A new command does not compile before it has a row. */
const COMMANDS: { readonly [Kind in 'acquire' | 'release' | 'inspect' | 'sweep']: Row } = {
  acquire: command<AcquireCommand>('acquire', {
    weight: 40,
    judged: 'in order',
    draw({ random, names }) {
      const longest = random.pick(LONGEST_TTLS)
      return {
        kind: 'acquire',
        resourceNames: [random.pick(names)],
        processId: random.pick(PROCESSES),
        ttlMs: longest === null ? null : random.whole(1, longest),
        metadata: random.chance(0.2) ? random.pick(METADATA) : null,
        mark: null,
        ticket: null
      }
    },
    judge(model, command, outcome) {
      const lockId = outcome.kind === 'granted' ? (outcome.grants[0]?.lockId ?? 0) : 0
      const fault = outcome.kind === 'granted' ? model.faultOfNumber(command.resourceNames[0] as ResourceName, lockId) : undefined
      return fault ?? unlessOneOf([model.acquire(command, lockId)], outcome)
    }
  }),

  release: command<ReleaseCommand>('release', {
    weight: 32,
    judged: 'in order',
    draw({ random, names, model }) {
      const name = random.pick(names)
      const number = model.lastNumber(name)
      return {
        kind: 'release',
        resourceName: name,
        processId: random.chance(0.6) ? (model.holder(name)?.processId ?? random.pick(PROCESSES)) : random.pick(PROCESSES),
        // None, the latest, an earlier one, one that this round may give.
        lockId: random.pick([null, null, null, number, number, number - random.whole(1, 9), number + random.whole(1, 9)]),
        reason: null
      }
    },
    judge: (model, command, outcome) => unlessOneOf(model.release(command), outcome)
  }),

  inspect: command('inspect', {
    weight: 15,
    judged: 'last',
    draw: ({ random, names }) => ({ kind: 'inspect', resourceName: random.pick(names) }),
    judge: (model, { resourceName }, outcome) => unlessOneOf(model.inspect(resourceName), outcome)
  }),

  sweep: command('sweep', {
    weight: 6,
    judged: 'first',
    draw: ({ random }) => ({ kind: 'sweep', bite: random.pick([1, 2, 5, 200, 200]) }),
    judge: (model, command, outcome, concurrent) => model.faultOfSweep(command, outcome, concurrent)
  })
}

/** Every step there is. */
export const ROWS: readonly Row[] = [
  ...Object.values(COMMANDS),

  row('list', {
    weight: 7,
    judged: 'last',
    draw: ({ random }): ListQuery => ({
      prefix: random.pick(PREFIXES),
      processId: random.chance(0.3) ? random.pick(PROCESSES) : null,
      after: random.chance(0.4) ? random.pick(NAMES) : null,
      limit: random.pick([1, 2, 5, 20, 1000])
    }),
    run: (bench, query) => bench.storeFor(null).list(query),
    judge: (model, query, page) => model.faultOfPage(query, page)
  }),

  row('count', {
    weight: 2,
    judged: 'last',
    draw: ({ random }): CountQuery => ({ prefix: random.pick(PREFIXES), processId: random.chance(0.3) ? random.pick(PROCESSES) : null }),
    run: (bench, query) => bench.storeFor(null).count(query),
    judge: (model, query, count) => model.faultOfCount(query, count)
  }),

  row('clock', {
    weight: 10,
    judged: 'in order',
    alone: true,
    draw(scene) {
      const { random, model } = scene
      // Past whatever the store keeps of ended grants.
      if (random.chance(0.05)) return { to: model.now + KEEP_ENDED_MS + random.whole(0, 5000) }
      const points = model.turningPoints()
      const point = random.chance(0.8) ? points[0] : points[random.whole(0, points.length - 1)]
      if (point === undefined || random.chance(0.3)) return { to: model.now + random.whole(1, 50) }
      // To the very millisecond, or to the last one before it. The next rounds are about what changes there.
      scene.names = [point.name]
      return { to: point.at - random.whole(0, 1) }
    },
    run: (bench, { to }) => bench.setClock(to),
    judge(model, { to }) {
      model.now = to
      return undefined
    }
  }),

  row('reopen', {
    weight: 0.3,
    judged: 'in order',
    alone: true,
    draw: () => ({}),
    run: (bench) => bench.reopen(),
    judge: () => undefined
  })
]

// Bytewise order differs from JavaScript's for the last ones, and a prefix may end with the very last character.
const SEATS = Array.from({ length: 24 }, (_, index) => `seat/${index}`)
const PLAIN_NAMES = ['a', 'A', 'seat', 'seat/', 'seat0', 'b/1', 'b/2']
const ODD_NAMES = ['%', "o'hara", '{a,"b"}', '\\', 'null', '中', 'ﬀ', '😀', '\u{10ffff}', '\u{10ffff}/1']
export const NAMES: readonly ResourceName[] = [...SEATS, ...PLAIN_NAMES, ...ODD_NAMES].map(resourceName)
const PREFIXES = ['', '', 'seat', 'seat/', 'seat/1', 'b', '\u{10ffff}', '中', 'none']
const PROCESSES = ['p', 'q', 'r'].map(processId)
const METADATA: readonly Metadata[] = [{}, { by: 'ü"\\', tags: [1, null, {}] }]
/** The longest lease drawn: never, as short as can be, some steps of the clock, an hour. */
const LONGEST_TTLS = [null, 1, 20, 2000, 3_600_000]

function unlessOneOf(allowed: readonly object[], answer: object): string | undefined {
  if (allowed.some((one) => matches(answer, one))) return undefined
  return `expected ${allowed.map((one) => JSON.stringify(one)).join(' or ')}`
}
