import { decide } from './decided.js'
import { groupBy } from './group-by.js'
import { judge, MOST_STATES, type Verdict } from './linearizability.js'
import { describe, type Operation, type Tolerance } from './operation.js'
import { overtaken, type Sighting } from './queue-order.js'
import { compare, type Recorded } from './recorded.js'

/** All that is known of some resources: what clients saw, what the service wrote down, and who was seen in line. */
export interface History {
  readonly operations: readonly Operation[]
  readonly events: readonly Recorded[]
  readonly sightings: readonly Sighting[]
}

export interface Findings {
  /** Resources whose operations were put into an order. */
  readonly histories: number
  readonly violations: readonly string[]
  /** Acknowledged grants and releases that are not in the service's history. */
  readonly lost: readonly string[]
  /** Resources for which the search was given up. */
  readonly undecided: number
}

/**
 * Everything that is promised, checked on one history. Where the database's clock was set meanwhile, no instant means anything,
 * and neither order nor leases can be judged: what remains is the service's own history, in which grants follow each other.
 */
export function check({ operations, events, sightings }: History, tolerance: Tolerance): Findings {
  const resources = [...groupBy(operations, ({ resource }) => resource)]
  const told = groupBy(events, ({ resource }) => resource)
  const byClock = Number.isFinite(tolerance.clocksMs)
  const verdicts = (byClock ? resources : []).map(([resource, some]) => ({ resource, verdict: judgeAll(prepared(some), told.get(resource) ?? [], tolerance) }))
  const disordered = verdicts.flatMap(({ resource, verdict }) =>
    verdict.kind === 'impossible' ? [`no order explains the answers for ${resource}: ${verdict.why}${surroundings(resource, [...verdict.stuck.flatMap(processesOf), ...verdict.holders], operations, events)}`] : []
  )
  const record = compare(operations, events, tolerance)
  return {
    histories: resources.length,
    violations: [
      ...operations.flatMap((operation) => faultsOf(operation, tolerance)),
      ...disordered,
      ...record.violations,
      ...(byClock ? overtaken(operations, sightings, tolerance) : [])
    ],
    lost: record.lost,
    undecided: verdicts.filter(({ verdict }) => verdict.kind === 'undecided').length
  }
}

/** Hardly a history needs that much. */
const PATIENTLY = 10

/** What the answers alone do not decide in reasonable time is decided with the help of the service's history. */
function judgeAll(operations: readonly Operation[], events: readonly Recorded[], tolerance: Tolerance): Verdict {
  const verdict = judge(operations, tolerance)
  return verdict.kind === 'undecided' ? judge(decide(operations, events, tolerance), tolerance, PATIENTLY * MOST_STATES) : verdict
}

/**
 * What the service may still do for a waiter whose connection is gone becomes an operation of its own; ids of requests that
 * nobody repeated say nothing and are left out, which spares the search.
 */
export function prepared(operations: readonly Operation[]): Operation[] {
  const uses = new Map<string, number>()
  for (const { ask } of operations) if (ask.kind === 'request' && ask.requestId !== null) uses.set(ask.requestId, (uses.get(ask.requestId) ?? 0) + 1)
  return operations.flatMap((operation): Operation[] => {
    const { id, ask, answer } = operation
    if (ask.kind !== 'request') return [operation]
    const repeated = ask.requestId !== null && uses.get(ask.requestId) !== 1
    const request = { ...operation, ask: { ...ask, requestId: repeated ? ask.requestId : null } }
    return ask.waits && answer.kind === 'unknown' ? [request, { ...operation, id: -1 - id, ask: { kind: 'give-back', of: id, process: ask.process } }] : [request]
  })
}

/** What an answer says wrong by itself: its times must lie within the call, and its lease must be the one asked for. */
function faultsOf(operation: Operation, { clocksMs }: Tolerance): string[] {
  const { ask, answer, calledAt, answeredAt } = operation
  const time = answer.kind === 'granted' && !answer.replayed ? answer.grant.lockedAt : answer.kind === 'renewed' || answer.kind === 'released' ? answer.at : undefined
  const faults: string[] = []
  if (time !== undefined && (time < calledAt - clocksMs || time > answeredAt + clocksMs)) faults.push('its time lies outside of the call')
  const ttlMs = ask.kind === 'request' || ask.kind === 'renew' ? ask.ttlMs : undefined
  if (time !== undefined && ttlMs !== undefined && (answer.kind === 'granted' || answer.kind === 'renewed')) {
    const revokedAt = answer.kind === 'renewed' ? answer.revokedAt : null
    const end = Math.min(time + (ttlMs ?? Number.POSITIVE_INFINITY), revokedAt ?? Number.POSITIVE_INFINITY)
    if (revokedAt !== undefined && (answer.grant.expiresAt ?? Number.POSITIVE_INFINITY) !== end) faults.push('its lease is not the one that was asked for')
  }
  return faults.map((fault) => `${fault}: ${JSON.stringify(operation)}`)
}

/** All that is known of the processes in question, to see what went wrong. */
function surroundings(resource: string, involved: readonly string[], operations: readonly Operation[], events: readonly Recorded[]): string {
  const processes = new Set(involved)
  const known = operations.filter((operation) => operation.resource === resource && processesOf(operation).some((process) => processes.has(process)))
  const told = events.filter((event) => event.resource === resource && processes.has(event.process))
  return `\ntheir processes:\n  ${[...known.map(describe), ...told.map((event) => JSON.stringify(event))].join('\n  ')}`
}

/** Who asked, and who was said to hold it. */
function processesOf({ ask, answer }: Operation): string[] {
  const holder = answer.kind === 'held' && answer.by !== null ? [answer.by.process] : []
  return 'process' in ask && ask.process !== null ? [ask.process, ...holder] : holder
}
