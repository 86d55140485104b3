import type { NotHeldReason } from '../../../src/locks/lock.js'
import type { Operation, Told, Tolerance } from './operation.js'

/*
 * What one resource promises, as a machine that does one thing after another. Its clock is a lower bound: the time of the
 * latest change. A lease ends by itself once the clock may have reached its end, so that no step is needed for that.
 *
 * What nobody was told has bounds instead of values: the lease of a grant whose answer was lost ends at some instant from
 * `least` to `most`, and the first answer that names it pins it down.
 */

interface Tenure {
  readonly process: string
  /** Undefined until an answer tells. */
  readonly lockId: number | undefined
  /** The operation that was granted it. */
  readonly from: number
  readonly requestId: string | null
  readonly ttlMs: number | null
  readonly least: number
  readonly most: number
  readonly ended: boolean
  /** A repetition of its request was answered with it: from then on the service may not give it back by itself. */
  readonly claimed: boolean
}

export interface State {
  readonly now: number
  /** The largest number so far; where the latest is not known, what it must reach at least. */
  readonly last: number
  readonly latest: Tenure | undefined
  /** The ids of requests that were granted. */
  readonly used: readonly string[]
}

export const NEVER_LOCKED: State = { now: 0, last: 0, latest: undefined, used: [] }

/** The state after an operation with that answer, the same object where nothing changes; undefined where it cannot be. */
export function step(state: State, operation: Operation, { clocksMs }: Tolerance): State | undefined {
  const { ask, answer } = operation
  const since = operation.calledAt - clocksMs
  const until = operation.answeredAt + clocksMs
  const { latest } = state
  switch (answer.kind) {
    case 'granted':
      return answer.replayed ? replay(state, operation, answer.grant, since) : grant(state, operation, answer.grant)
    case 'held':
      // A request that was granted is answered with its grant, or that its id was used, also when another process holds the resource.
      if (ask.kind === 'request' && state.used.includes(ask.requestId ?? '')) return undefined
      if (answer.by === null) return state
      return latest !== undefined && mayBeValid(latest, since) ? pin(state, latest, answer.by) : undefined
    case 'reused':
      return ask.kind === 'request' && state.used.includes(ask.requestId ?? '') ? state : undefined
    case 'renewed': {
      if (latest === undefined || !mayBeValid(latest, Math.max(state.now, since)) || answer.at < state.now) return undefined
      const pinned = pin(state, { ...latest, least: 0, most: Number.POSITIVE_INFINITY }, answer.grant)
      return pinned === undefined ? undefined : { ...pinned, now: answer.at }
    }
    case 'released': {
      if (latest === undefined || !mayBeValid(latest, Math.max(state.now, since)) || answer.at < state.now) return undefined
      const { process, lockId } = answer
      const named = lockId === null ? ofProcess(state, latest, process) : pinNumber(state, latest, process, lockId)
      return named?.latest === undefined ? undefined : { ...named, now: answer.at, latest: { ...named.latest, ended: true } }
    }
    case 'changed':
      return ask.kind === 'release' && latest !== undefined && mayBeValid(latest, since) && latest.lockId !== ask.lockId ? state : undefined
    case 'free':
      return latest === undefined || mayBeOver(latest, until) ? state : undefined
    case 'not-held':
      return isNotHeld(latest, operation, answer.reason, since, until) ? state : undefined
    case 'unknown':
      return happenUnseen(state, operation, Math.max(state.now, since))
  }
}

function mayBeValid({ ended, most }: Tenure, at: number): boolean {
  return !ended && at < most
}

function mayBeOver({ ended, least }: Tenure, at: number): boolean {
  return ended || at >= least
}

function grant(state: State, { id, ask }: Operation, told: Told): State | undefined {
  if (ask.kind !== 'request' || told.process !== ask.process) return undefined
  const { now, last, latest, used } = state
  if (told.lockedAt < now || told.lockId <= last || (latest !== undefined && !mayBeOver(latest, told.lockedAt))) return undefined
  if (ask.requestId !== null && used.includes(ask.requestId)) return undefined
  const end = told.expiresAt ?? Number.POSITIVE_INFINITY
  const { process, requestId, ttlMs } = ask
  return {
    now: told.lockedAt,
    last: told.lockId,
    latest: { process, lockId: told.lockId, from: id, requestId, ttlMs, least: end, most: end, ended: false, claimed: false },
    used: requestId === null ? used : [...used, requestId]
  }
}

function replay(state: State, { ask }: Operation, told: Told, since: number): State | undefined {
  const { latest } = state
  if (ask.kind !== 'request' || latest === undefined || ask.requestId === null || latest.requestId !== ask.requestId) return undefined
  const pinned = mayBeValid(latest, since) ? pin(state, latest, told) : undefined
  if (pinned?.latest === undefined || pinned.latest.claimed) return pinned
  return { ...pinned, latest: { ...pinned.latest, claimed: true } }
}

/** The same grant as an answer describes it, its unknown values now known; undefined when it is another. */
function pin(state: State, latest: Tenure, { process, lockId, expiresAt }: Omit<Told, 'lockedAt'>): State | undefined {
  const end = expiresAt ?? Number.POSITIVE_INFINITY
  if (end < latest.least || end > latest.most) return undefined
  const named = pinNumber(state, latest, process, lockId)
  if (named?.latest === undefined || (end === named.latest.least && end === named.latest.most)) return named
  return { ...named, latest: { ...named.latest, least: end, most: end } }
}

function pinNumber(state: State, latest: Tenure, process: string, lockId: number): State | undefined {
  if (latest.process !== process || lockId < state.last || (latest.lockId !== undefined && latest.lockId !== lockId)) return undefined
  return latest.lockId === lockId ? withLatest(state, latest) : { ...state, last: lockId, latest: { ...latest, lockId } }
}

function ofProcess(state: State, latest: Tenure, process: string): State | undefined {
  return latest.process === process ? withLatest(state, latest) : undefined
}

function withLatest(state: State, latest: Tenure): State {
  return state.latest === latest ? state : { ...state, latest }
}

function isNotHeld(latest: Tenure | undefined, { ask }: Operation, reason: NotHeldReason | null, since: number, until: number): boolean {
  if (ask.kind !== 'release' && ask.kind !== 'renew') return false
  const { process, lockId } = ask
  if (latest === undefined) return reason === 'not_locked' || reason === null
  const own = process === null || latest.process === process
  switch (reason) {
    case 'not_locked':
      return !own && mayBeOver(latest, until)
    case 'held_by_other':
      return mayBeValid(latest, since) && !(own && (lockId === null || latest.lockId === lockId))
    case 'expired':
      return own && !latest.ended && mayBeOver(latest, until)
    case 'released':
      return own && latest.ended
    case null:
      return !own || mayBeOver(latest, until)
  }
}

/** What was asked happens at that instant or later, and nobody is told. */
function happenUnseen(state: State, { id, ask }: Operation, at: number): State | undefined {
  const { latest, last, used } = state
  if (ask.kind === 'request') {
    const { process, requestId, ttlMs } = ask
    if (requestId !== null && used.includes(requestId)) return undefined
    const now = latest === undefined || latest.ended ? at : Math.max(at, latest.least)
    if (now === Number.POSITIVE_INFINITY) return undefined
    const least = ttlMs === null ? Number.POSITIVE_INFINITY : now + ttlMs
    return {
      now,
      last: last + 1,
      latest: { process, lockId: undefined, from: id, requestId, ttlMs, least, most: Number.POSITIVE_INFINITY, ended: false, claimed: false },
      used: requestId === null ? used : [...used, requestId]
    }
  }
  if (ask.kind === 'look' || latest === undefined || !mayBeValid(latest, at)) return undefined
  if (ask.kind === 'give-back') {
    return latest.from === ask.of && !latest.claimed ? { ...state, now: at, latest: { ...latest, ended: true } } : undefined
  }
  if (ask.process !== null && ask.process !== latest.process) return undefined
  if (ask.lockId !== null && latest.lockId !== undefined && latest.lockId !== ask.lockId) return undefined
  if (ask.kind === 'release') return { ...state, now: at, latest: { ...latest, ended: true } }
  const ttlMs = ask.ttlMs === undefined ? latest.ttlMs : ask.ttlMs
  const least = ttlMs === null ? Number.POSITIVE_INFINITY : at + ttlMs
  return { ...state, now: at, latest: { ...latest, least, most: Number.POSITIVE_INFINITY } }
}
