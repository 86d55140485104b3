import type { Operation, Tolerance } from './operation.js'
import { isConversion } from './periods.js'
import type { Recorded } from './recorded.js'

/**
 * Lets the service's own history decide what nobody was told of: of the requests, releases and takings-away of unknown outcome
 * those that it tells of happened at that time, and the others did not. Renewals stay unknown, since not all of them are told,
 * and so do conversions and revocations, unless nothing of the kind is.
 *
 * Only for a search that would otherwise be given up: it believes the history, which {@link compare} has checked.
 *
 * @param operations on one resource.
 * @param events of that resource, read after the operations were answered: what took effect later was seen by none of them.
 */
export function decide(operations: readonly Operation[], events: readonly Recorded[], { clocksMs }: Tolerance): Operation[] {
  const decided = new Map<Operation, Operation | undefined>()
  const open = operations.filter(({ ask, answer }) => answer.kind === 'unknown' && ask.kind !== 'renew' && !isTold(ask, events))
  for (const operation of open) decided.set(operation, undefined)
  for (const event of unexplained(operations, events)) {
    const candidates = open.filter((operation) => decided.get(operation) === undefined && operation.calledAt <= event.at + clocksMs && mayHaveCaused(operation, event))
    // The one that was called first could have happened whenever another one could, and a client's before the service's own.
    const first = candidates.find(({ ask }) => ask.kind !== 'give-back') ?? candidates[0]
    if (first === undefined) continue
    if (isAmbiguous(candidates)) for (const candidate of candidates) decided.set(candidate, candidate)
    else decided.set(first, withOutcome(first, event, events))
  }
  const giveBacks = new Set(open.filter(({ ask }) => ask.kind === 'give-back'))
  return operations.flatMap((operation) => {
    if (!decided.has(operation)) return [operation]
    const known = decided.get(operation)
    // Whether the service gave it back depends on whether it was claimed, which the history does not tell.
    return known === undefined ? [] : [giveBacks.has(operation) ? operation : known]
  })
}

/** Conversions and revocations of which the history tells stay unknown: it does not tell all that they did. */
function isTold(ask: Operation['ask'], events: readonly Recorded[]): boolean {
  if (ask.kind === 'convert') return events.some(({ kind, reason, process }) => process === ask.process && (kind === 'converted' || (kind === 'released' && reason === 'converted')))
  return ask.kind === 'revoke' && events.some(({ kind, lockId }) => kind === 'revoked' && (ask.lockId ?? lockId) === lockId)
}

/** What is told of and was acknowledged to nobody. */
function unexplained(operations: readonly Operation[], events: readonly Recorded[]): Recorded[] {
  const known = new Set(
    operations.flatMap(({ answer }) => {
      if (answer.kind === 'granted' && !answer.replayed) return [`granted ${answer.grant.lockId}`]
      return answer.kind === 'released' ? (answer.all ?? [answer]).map(({ process }) => `ended ${process} ${answer.at}`) : []
    })
  )
  return events.filter((event) => {
    const { kind, lockId, process, at, reason } = event
    if (kind === 'granted') return !known.has(`granted ${lockId}`) && !isConversion(event, events)
    return ((kind === 'released' && reason !== 'converted') || kind === 'force_released') && !known.has(`ended ${process} ${at}`)
  })
}

function mayHaveCaused({ ask }: Operation, { kind, process, lockId }: Recorded): boolean {
  switch (ask.kind) {
    case 'request':
      return kind === 'granted' && ask.process === process
    case 'release':
      if (ask.lockId !== null && ask.lockId !== lockId) return false
      return ask.process === null ? kind === 'force_released' : kind === 'released' && ask.process === process
    case 'give-back':
      return kind === 'released' && ask.process === process
    case 'look':
    case 'renew':
    case 'convert':
    case 'revoke':
      return false
  }
}

/** Requests with different ids leave different traces; all of them stay unknown. */
function isAmbiguous(candidates: readonly Operation[]): boolean {
  return new Set(candidates.flatMap(({ ask }) => (ask.kind === 'request' ? [ask.requestId] : []))).size > 1
}

/** It is still open, since nobody was told, but what it does is known. @param events of that resource. */
function withOutcome(operation: Operation, { kind, at, process, lockId }: Recorded, events: readonly Recorded[]): Operation {
  const { ask } = operation
  if (kind === 'granted' && ask.kind === 'request') {
    const { sharing = null, ttlMs } = ask
    return { ...operation, answer: { kind: 'granted', grant: { process, lockId, lockedAt: at, expiresAt: ttlMs === null ? null : at + ttlMs, sharing }, replayed: false } }
  }
  const together = events.filter((event) => event.kind === kind && event.at === at)
  const isAll = ask.kind === 'release' && ask.process === null && ask.lockId === null && together.length > 1
  return { ...operation, answer: { kind: 'released', at, process, lockId, ...(isAll ? { all: together.map((one) => ({ process: one.process, lockId: one.lockId, lockedAt: 0, expiresAt: null })) } : {}) } }
}
