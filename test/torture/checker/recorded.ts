import type { EventKind } from '../../../src/locks/store.js'
import { groupBy } from './group-by.js'
import { describe, type Operation, type Tolerance } from './operation.js'
import { faultsOfPeriods, isConversion } from './periods.js'

/** A line of the service's own history. */
export interface Recorded {
  readonly eventId: number
  readonly kind: EventKind
  readonly at: number
  readonly resource: string
  readonly lockId: number
  readonly process: string
  /** Why it was taken away, revoked, or ended. */
  readonly reason?: string | null
}

export interface RecordFindings {
  /** What the history and the answers do not agree on. */
  readonly violations: readonly string[]
  /** Acknowledged grants and releases that the history does not have. */
  readonly lost: readonly string[]
}

type Requested = Operation & { readonly ask: Extract<Operation['ask'], { kind: 'request' }> }

/**
 * Compares the service's history, which is written in the transactions that it tells of, with what clients were told:
 * whatever was acknowledged is there; whatever is there was asked for; grants of one resource are together only as their statements
 * allow, and none is within the time for which it is kept; and calls for several resources are there whole or not at all.
 *
 * @param events of all the resources that the operations name, read after the operations were answered.
 */
export function compare(operations: readonly Operation[], events: readonly Recorded[], { clocksMs }: Tolerance = { clocksMs: 0 }): RecordFindings {
  const sorted = events.toSorted((a, b) => a.eventId - b.eventId)
  const violations: string[] = []
  const asked = groupBy(operations, ({ resource }) => resource)
  for (const [resource, told] of groupBy(sorted, (event) => event.resource)) violations.push(...faultsOfPeriods(told, asked.get(resource) ?? [], Number.isFinite(clocksMs)))
  const requests = operations.filter(isRequest)
  violations.push(...notAskedFor(requests, operations, sorted), ...inPart(requests, sorted))
  // An id is remembered for ten minutes, by a clock that may have been set by more.
  if (Number.isFinite(clocksMs)) violations.push(...grantedTwice(requests, sorted))
  return { violations, lost: lostAmong(operations, sorted) }
}

function notAskedFor(requests: readonly Requested[], operations: readonly Operation[], events: readonly Recorded[]): string[] {
  const askers = new Set(requests.filter(mayBeGranted).map(keyOfAsker))
  const converters = new Set(operations.filter(({ ask, answer }) => ask.kind === 'convert' && (answer.kind === 'converted' || answer.kind === 'unknown')).map(keyOfAsker))
  const revoked = new Set(operations.filter(({ ask, answer }) => ask.kind === 'revoke' && (answer.kind === 'revoked' || answer.kind === 'unknown')).map(({ resource }) => resource))
  const releases = operations.filter(({ ask }) => ask.kind === 'release')
  const told = new Set(releases.flatMap(({ resource, answer }) => (answer.kind === 'released' ? (answer.all ?? [answer]).map(({ process }) => `${resource} ${process} ${answer.at}`) : [])))
  const unseen = new Set(releases.flatMap(({ resource, ask, answer }) => (answer.kind === 'unknown' && ask.kind === 'release' ? [`${resource} ${ask.process ?? ''}`] : [])))
  const gone = new Set(requests.filter(({ ask, answer }) => ask.waits && answer.kind === 'unknown').map(keyOfAsker))
  return events.flatMap((event) => {
    const { kind, resource, process, at, reason } = event
    const asker = `${resource} ${process}`
    if (kind === 'granted' && !(isConversion(event, events.filter((other) => other.resource === resource)) ? converters : askers).has(asker)) return [`nobody asked for it: ${lines(event)}`]
    if (kind === 'converted' || (kind === 'released' && reason === 'converted')) return converters.has(asker) ? [] : [`nobody converted it: ${lines(event)}`]
    if (kind === 'revoked' && !revoked.has(resource)) return [`nobody revoked it: ${lines(event)}`]
    const known = told.has(`${asker} ${at}`)
    if (kind === 'released' && !known && !unseen.has(asker) && !gone.has(asker)) return [`nobody released it: ${lines(event)}`]
    if (kind === 'force_released' && !known && !unseen.has(`${resource} `)) return [`nobody took it away: ${lines(event)}`]
    return []
  })
}

/** One request, however often it was repeated with its id, yields one grant. */
function grantedTwice(requests: readonly Requested[], events: readonly Recorded[]): string[] {
  const granted = groupBy(requestedAmong(events), ({ resource, process }) => `${resource} ${process}`)
  const asked = groupBy(requests.filter(mayBeGranted), keyOfAsker)
  return [...granted].flatMap(([asker, grants]) => {
    const attempts = new Set((asked.get(asker) ?? []).map(({ id, ask }) => ask.requestId ?? id))
    return grants.length > attempts.size ? [`${attempts.size} requests were granted ${grants.length} times: ${lines(...grants)}`] : []
  })
}

/** The grants that were made for requests, and not by conversions. */
function requestedAmong(events: readonly Recorded[]): Recorded[] {
  return [...groupBy(events, ({ resource }) => resource).values()].flatMap((some) => some.filter((event) => event.kind === 'granted' && !isConversion(event, some)))
}

/**
 * All or nothing: of the resources that a process asked for together, it was granted each as often. What it asked for one by
 * one beside that is left out of account, as far as it was granted.
 */
function inPart(requests: readonly Requested[], events: readonly Recorded[]): string[] {
  const all = requestedAmong(events)
  return [...groupBy(requests, ({ ask }) => ask.process)].flatMap(([process, asked]) => {
    const names = [...new Set(asked.filter(({ ask }) => ask.together !== undefined).map(({ resource }) => resource))]
    const granted = all.filter((event) => event.process === process && names.includes(event.resource))
    const alone = asked.filter(({ ask }) => ask.together === undefined)
    const times = names.map((name) => {
      const count = granted.filter(({ resource }) => resource === name).length
      const singly = alone.filter(({ resource, answer }) => resource === name && answer.kind === 'granted' && !answer.replayed).length
      const maybe = alone.filter(({ resource, answer }) => resource === name && answer.kind === 'unknown').length
      return { least: count - singly - maybe, most: count - singly }
    })
    const agree = Math.max(...times.map(({ least }) => least)) <= Math.min(...times.map(({ most }) => most))
    return agree ? [] : [`of ${names.join()} ${process} was granted only a part: ${lines(...granted)}`]
  })
}

function lostAmong(operations: readonly Operation[], events: readonly Recorded[]): string[] {
  const grants = new Set(events.filter(({ kind }) => kind === 'granted').map(({ resource, lockId, at }) => `${resource} ${lockId} ${at}`))
  const kinds = new Set(events.map(({ kind, resource, lockId }) => `${kind} ${resource} ${lockId}`))
  const ends = new Set(events.map(({ kind, resource, process, at }) => `${kind} ${resource} ${process} ${at}`))
  return operations
    .filter(({ resource, ask, answer }) => {
      if (answer.kind === 'granted') return !answer.replayed && !grants.has(`${resource} ${answer.grant.lockId} ${answer.grant.lockedAt}`)
      if (answer.kind === 'converted') return !grants.has(`${resource} ${answer.grant.lockId} ${answer.grant.lockedAt}`)
      if (answer.kind === 'revoked') return answer.all.some(({ lockId }) => !kinds.has(`revoked ${resource} ${lockId}`))
      if (answer.kind !== 'released' || ask.kind !== 'release') return false
      const kind = ask.process === null ? 'force_released' : 'released'
      return (answer.all ?? [answer]).some(({ process }) => !ends.has(`${kind} ${resource} ${process} ${answer.at}`))
    })
    .map(describe)
}

function isRequest(operation: Operation): operation is Requested {
  return operation.ask.kind === 'request'
}

function mayBeGranted({ answer }: Operation): boolean {
  return answer.kind === 'granted' || answer.kind === 'unknown'
}

function keyOfAsker({ resource, ask }: Operation): string {
  return `${resource} ${'process' in ask ? (ask.process ?? '') : ''}`
}

function lines(...events: readonly (Recorded | undefined)[]): string {
  return events.map((event) => JSON.stringify(event)).join(', ')
}
