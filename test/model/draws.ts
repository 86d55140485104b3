import type { AcquireCommand, LeaseRestart, ReleaseCommand, RenewCommand } from '../../src/locks/commands.js'
import { fingerprintOf } from '../../src/locks/requests.js'
import { processId, resourceName, type Metadata, type ResourceName, type TtlMs } from '../../src/locks/lock.js'
import type { Scene } from './table.js'
import type { Random } from '../support/random.js'

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
    restartLease: drawAfresh(scene.random)
  }
}

function drawAfresh(random: Random): LeaseRestart | undefined {
  return random.chance(0.7) ? undefined : { metadata: random.chance(0.5) ? null : random.pick(METADATA) }
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
