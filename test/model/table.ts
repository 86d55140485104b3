import type { AcquireCommand, Command, OutcomeOf, ReleaseCommand, RenewCommand } from '../../src/locks/commands.js'
import { type EpochMs, type Metadata, processId, type ResourceName, resourceName, type TtlMs } from '../../src/locks/lock.js'
import { fingerprintOf } from '../../src/locks/requests.js'
import type { LockEvent, LockStore } from '../../src/locks/store.js'
import type { Random } from '../support/random.js'
import type { Model } from './model.js'

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

// Bytewise order differs from JavaScript's for the last ones, and a prefix may end with the very last character.
const SEATS = Array.from({ length: 24 }, (_, index) => `seat/${index}`)
const PLAIN_NAMES = ['a', 'A', 'seat', 'seat/', 'seat0', 'b/1', 'b/2']
const ODD_NAMES = ['%', "o'hara", '{a,"b"}', '\\', 'null', '中', 'ﬀ', '😀', '\u{10ffff}', '\u{10ffff}/1']
export const NAMES: readonly ResourceName[] = [...SEATS, ...PLAIN_NAMES, ...ODD_NAMES].map(resourceName)
export const PREFIXES = ['', '', 'seat', 'seat/', 'seat/1', 'b', '\u{10ffff}', '中', 'none']
/** Mostly none, as long as nobody made any. */
export const KEYS = [null, null, null, 'k1', 'k2']
export const PROCESSES = ['p', 'q', 'r'].map(processId)
const METADATA: readonly Metadata[] = [{}, { by: 'ü"\\', tags: [1, null, {}] }]
/** The longest lease drawn: never, as short as can be, some steps of the clock, an hour. */
const LONGEST_TTLS = [null, 1, 20, 2000, 3_600_000]
const MOST_MARKED = 60

export function drawAcquire(scene: Scene): AcquireCommand {
  const { random, marked } = scene
  const content = drawContent(scene)
  if (random.chance(0.5)) return content
  const known = marked.filter(({ resourceNames }) => resourceNames.every((name) => scene.names.includes(name)))
  // A new id, a repetition, an id once more for other content.
  const earlier = random.chance(0.4) || known.length === 0 ? undefined : random.pick(known)
  const { resourceNames, processId, ttlMs, metadata, key } = earlier !== undefined && random.chance(0.7) ? earlier : content
  const id = earlier?.idempotencyKey?.id ?? `id/${random.next()}`
  if (!mayBear(scene, id, resourceNames)) return content
  const mark = { id, fingerprint: fingerprintOf({ resourceNames, processId, ttlMs, metadata, key }) }
  const request: AcquireCommand = { ...content, resourceNames, processId, ttlMs, metadata, key, idempotencyKey: mark }
  marked.push(request)
  if (marked.length > MOST_MARKED) marked.shift()
  return request
}

/** A request without an id. */
export function drawContent({ random, names }: Scene): AcquireCommand {
  const several = random.chance(0.2) ? Array.from({ length: random.whole(2, 5) }, () => random.pick(names)) : [random.pick(names)]
  return {
    kind: 'acquire',
    resourceNames: [...new Set(several)],
    processId: random.pick(PROCESSES),
    ttlMs: drawTtl(random),
    metadata: random.chance(0.2) ? random.pick(METADATA) : null,
    idempotencyKey: null,
    ticket: null,
    key: random.pick(KEYS)
  }
}

/** Where steps about different names overlap, an id must stay with the same names for its order to be known. */
function mayBear({ model, overlapping, claims }: Scene, id: string, names: readonly ResourceName[]): boolean {
  if (!overlapping) return true
  const asked = namesAsText(names)
  const remembered = model.requests.namesOf(id) ?? names
  if ((claims.get(id) ?? asked) !== asked || namesAsText(remembered) !== asked) return false
  claims.set(id, asked)
  return true
}

function namesAsText(names: readonly ResourceName[]): string {
  return JSON.stringify(names.toSorted())
}

export function drawRelease(scene: Scene): ReleaseCommand {
  const { random } = scene
  const grant = drawGrant(scene)
  const force = random.chance(0.15)
  return {
    kind: 'release',
    ...grant,
    processId: force ? null : grant.processId,
    reason: force ? random.pick([null, 'gone', 'it\'s "stuck"']) : null,
    key: force ? null : drawKey(scene, grant.resourceName)
  }
}

export function drawRenew(scene: Scene): RenewCommand {
  const grant = drawGrant(scene)
  return {
    kind: 'renew',
    ...grant,
    ttlMs: drawRenewal(scene.random),
    key: drawKey(scene, grant.resourceName),
    metadata: scene.random.chance(0.8) ? null : scene.random.pick(METADATA),
    restartLease: scene.random.chance(0.3)
  }
}

/** The lease of a renewal: the grant's own, another, without end. */
export function drawRenewal(random: Random): TtlMs | undefined {
  return random.chance(0.4) ? undefined : drawTtl(random)
}

function drawTtl(random: Random): TtlMs {
  const longest = random.pick(LONGEST_TTLS)
  return longest === null ? null : random.whole(1, longest)
}

/** Mostly one that may touch the resource's latest grant. */
function drawKey({ random, model }: Scene, name: ResourceName): string | null {
  return random.chance(0.7) ? model.lastKey(name) : random.pick(KEYS)
}

/** Mostly as it is or was last held. */
function drawGrant({ random, names, model }: Scene) {
  const resourceName = random.pick(names)
  const number = model.lastNumber(resourceName)
  return {
    resourceName,
    processId: random.chance(0.6) ? (model.lastProcess(resourceName) ?? random.pick(PROCESSES)) : random.pick(PROCESSES),
    // None, the latest, an earlier one, one that this round may give.
    lockId: random.pick([null, null, null, number, number, number - random.whole(1, 9), number + random.whole(1, 9)])
  }
}
