import type { EventKind } from '../../../src/locks/store.js'
import { groupBy } from './group-by.js'
import { describe, type Operation, type Tolerance } from './operation.js'

/** A line of the service's own history. */
export interface Recorded {
  readonly eventId: number
  readonly kind: EventKind
  readonly at: number
  readonly resource: string
  readonly lockId: number
  readonly process: string
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
 * whatever was acknowledged is there; whatever is there was asked for; grants of one resource follow each other without
 * overlap; and calls for several resources are there whole or not at all.
 *
 * @param events of all the resources that the operations name, read after the operations were answered.
 */
export function compare(operations: readonly Operation[], events: readonly Recorded[], { clocksMs }: Tolerance = { clocksMs: 0 }): RecordFindings {
  const sorted = events.toSorted((a, b) => a.eventId - b.eventId)
  const violations: string[] = []
  for (const told of groupBy(sorted, ({ resource }) => resource).values()) violations.push(...faultsOfOrder(told, Number.isFinite(clocksMs)))
  const requests = operations.filter(isRequest)
  violations.push(...notAskedFor(requests, operations, sorted), ...inPart(requests, sorted))
  // An id is remembered for ten minutes, by a clock that may have been set by more.
  if (Number.isFinite(clocksMs)) violations.push(...grantedTwice(requests, sorted))
  return { violations, lost: lostAmong(operations, sorted) }
}

/** One resource: each grant has a larger number than the one before, and begins after that one has ended: by the clock too, unless that was set. */
function faultsOfOrder(events: readonly Recorded[], byClock: boolean): string[] {
  const faults: string[] = []
  let latest: Recorded | undefined
  let end: Recorded | undefined
  for (const event of events) {
    if (event.kind === 'granted') {
      if (latest !== undefined && event.lockId <= latest.lockId) faults.push(`numbers do not grow: ${lines(latest, event)}`)
      if (latest !== undefined && (end === undefined || (byClock && end.at > event.at))) faults.push(`two grants at once: ${lines(latest, end, event)}`)
      latest = event
      end = undefined
    } else if (latest?.lockId !== event.lockId || end !== undefined) {
      faults.push(`it speaks of a grant that has ended: ${lines(latest, end, event)}`)
    } else if (event.kind !== 'renewed') {
      end = event
    }
  }
  return faults
}

function notAskedFor(requests: readonly Requested[], operations: readonly Operation[], events: readonly Recorded[]): string[] {
  const askers = new Set(requests.filter(mayBeGranted).map(keyOfAsker))
  const releases = operations.filter(({ ask }) => ask.kind === 'release' || ask.kind === 'give-back')
  const told = new Set(releases.flatMap(({ resource, answer }) => (answer.kind === 'released' ? [`${resource} ${answer.process} ${answer.at}`] : [])))
  const unseen = new Set(releases.flatMap(({ resource, ask, answer }) => (answer.kind === 'unknown' && ask.kind === 'release' ? [`${resource} ${ask.process ?? ''}`] : [])))
  const gone = new Set(requests.filter(({ ask, answer }) => ask.waits && answer.kind === 'unknown').map(keyOfAsker))
  return events.flatMap((event) => {
    const { kind, resource, process, at } = event
    if (kind === 'granted' && !askers.has(`${resource} ${process}`)) return [`nobody asked for it: ${lines(event)}`]
    const known = told.has(`${resource} ${process} ${at}`)
    if (kind === 'released' && !known && !unseen.has(`${resource} ${process}`) && !gone.has(`${resource} ${process}`)) return [`nobody released it: ${lines(event)}`]
    if (kind === 'force_released' && !known && !unseen.has(`${resource} `)) return [`nobody took it away: ${lines(event)}`]
    return []
  })
}

/** One request, however often it was repeated with its id, yields one grant. */
function grantedTwice(requests: readonly Requested[], events: readonly Recorded[]): string[] {
  const granted = groupBy(events.filter(({ kind }) => kind === 'granted'), ({ resource, process }) => `${resource} ${process}`)
  const asked = groupBy(requests.filter(mayBeGranted), keyOfAsker)
  return [...granted].flatMap(([asker, grants]) => {
    const attempts = new Set((asked.get(asker) ?? []).map(({ id, ask }) => ask.requestId ?? id))
    return grants.length > attempts.size ? [`${attempts.size} requests were granted ${grants.length} times: ${lines(...grants)}`] : []
  })
}

/**
 * All or nothing: of the resources that a process asked for together, it was granted each as often. What it asked for one by
 * one beside that is left out of account, as far as it was granted.
 */
function inPart(requests: readonly Requested[], events: readonly Recorded[]): string[] {
  return [...groupBy(requests, ({ ask }) => ask.process)].flatMap(([process, asked]) => {
    const names = [...new Set(asked.filter(({ ask }) => ask.together !== undefined).map(({ resource }) => resource))]
    const granted = events.filter((event) => event.kind === 'granted' && event.process === process && names.includes(event.resource))
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
  const there = new Set(events.map(({ kind, resource, lockId, at }) => `${kind} ${resource} ${lockId} ${at}`))
  const ends = new Set(events.map(({ kind, resource, process, at }) => `${kind} ${resource} ${process} ${at}`))
  return operations
    .filter(({ resource, ask, answer }) => {
      if (answer.kind === 'granted') return !answer.replayed && !there.has(`granted ${resource} ${answer.grant.lockId} ${answer.grant.lockedAt}`)
      if (answer.kind !== 'released' || ask.kind !== 'release') return false
      return !ends.has(`${ask.process === null ? 'force_released' : 'released'} ${resource} ${answer.process} ${answer.at}`)
    })
    .map(describe)
}

function isRequest(operation: Operation): operation is Requested {
  return operation.ask.kind === 'request'
}

function mayBeGranted({ answer }: Operation): boolean {
  return answer.kind === 'granted' || answer.kind === 'unknown'
}

function keyOfAsker({ resource, ask }: Requested): string {
  return `${resource} ${ask.process}`
}

function lines(...events: readonly (Recorded | undefined)[]): string {
  return events.map((event) => JSON.stringify(event)).join(', ')
}
