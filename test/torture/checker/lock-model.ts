import type { NotHeldReason } from '../../../src/locks/lock.js'
import type { Answer, Operation, Told, Tolerance } from './operation.js'
import { areSlots, at, endingAt, fits, granted, isSame, isUsage, latestOf, mayHold, mayTake, mustHold, mustTake, newTenure, NO_TERMS, numbered, pinned, replaced, takenUntil, type State, type Tenure } from './tenure.js'
import { happenUnseen } from './unseen.js'

/*
 * What one resource promises, as a machine that does one thing after another: a grant is made if, with it, no holder's statement
 * about the permits becomes false. Its clock is a lower bound, and a lease ends by itself once the clock may have reached its end,
 * so that no step is needed for that.
 */

export const NEVER_LOCKED: State = { now: 0, last: 0, tenures: [], used: [] }

/** When the operation is made: somewhere between its call and its answer, and not before what was made already. */
interface Span {
  readonly since: number
  readonly until: number
}

type AnswerOf<Kind extends Answer['kind']> = Extract<Answer, { kind: Kind }>
type AskOf<Kind extends Operation['ask']['kind']> = Extract<Operation['ask'], { kind: Kind }>

/** The state after an operation with that answer, the same object where nothing changes; undefined where it cannot be. */
export function step(state: State, operation: Operation, { clocksMs }: Tolerance): State | undefined {
  const { ask, answer } = operation
  const span = { since: Math.max(state.now, operation.calledAt - clocksMs), until: operation.answeredAt + clocksMs }
  switch (answer.kind) {
    case 'granted':
      if (ask.kind !== 'request') return undefined
      return answer.replayed ? replay(state, ask, answer.grant, span) : grant(state, ask, operation.id, answer.grant)
    case 'held':
      return ask.kind === 'look' ? seen(state, answer, span) : refused(state, operation, answer, span)
    case 'reused':
      return ask.kind === 'request' && state.used.includes(ask.requestId ?? '') ? state : undefined
    case 'renewed':
      return ask.kind === 'renew' ? renewed(state, ask, answer) : undefined
    case 'released':
      if (ask.kind !== 'release' || answer.at < state.now) return undefined
      return ask.process === null ? takenAway(state, ask, answer) : released(state, ask, answer)
    case 'converted':
      return ask.kind === 'convert' ? converted(state, ask, answer.grant, span) : undefined
    case 'revoked':
      return ask.kind === 'revoke' ? revoked(state, ask, answer, span) : undefined
    case 'changed':
      return (ask.kind === 'release' || ask.kind === 'revoke') && state.tenures.some((tenure) => mayTake(tenure, span.since)) && !mustMean(state, ask, span.until) ? state : undefined
    case 'free':
      return state.tenures.some((tenure) => mustTake(tenure, span.until)) ? undefined : state
    case 'not-held':
      return isNotHeld(state, operation, answer.reason, span) ? state : undefined
    case 'unknown':
      return happenUnseen(state, operation, span.since)
  }
}

function grant(state: State, ask: AskOf<'request'>, from: number, told: Told): State | undefined {
  const { now, last, tenures, used } = state
  const { process, requestId, ttlMs, sharing = null, terms = NO_TERMS } = ask
  const { lockId, lockedAt, slots } = told
  if (told.process !== process || !isSame(told.sharing, sharing) || lockedAt < now || lockId <= last) return undefined
  if (requestId !== null && used.includes(requestId)) return undefined
  const holders = tenures.filter((tenure) => mustTake(tenure, lockedAt))
  if (!fits(sharing, holders) || holders.some((holder) => holder.process === process)) return undefined
  if (slots !== undefined && !areSlots(slots, sharing, tenures, lockedAt)) return undefined
  const end = told.expiresAt ?? Number.POSITIVE_INFINITY
  const tenure = { ...newTenure({ process, from, requestId, ttlMs, sharing, terms }), numberLeast: lockId, numberMost: lockId, slots, lockedLeast: lockedAt, lockedMost: lockedAt, least: end, most: end }
  return granted(requestId === null ? state : { ...state, used: [...used, requestId] }, tenure, lockedAt)
}

function replay(state: State, ask: AskOf<'request'>, told: Told, { since }: Span): State | undefined {
  const own = ask.requestId === null ? undefined : state.tenures.find((tenure) => tenure.requestId === ask.requestId && mayHold(tenure, since))
  const known = own && pinned(state, own, told)
  const same = own && known && at(known, state, own)
  return same === undefined || known === undefined || same.claimed ? known : replaced(known, same, { ...same, claimed: true })
}

/** What stands in the way of a request, or of a conversion. */
function refused(state: State, { ask }: Operation, { by, usage }: AnswerOf<'held'>, { since, until }: Span): State | undefined {
  if (ask.kind !== 'request' && ask.kind !== 'convert') return undefined
  // A request that was granted is answered with its grant, or that its id was used; whatever stands in the way.
  if (ask.kind === 'request' && state.used.includes(ask.requestId ?? '')) return undefined
  if (usage !== undefined && !isUsage(usage, state.tenures, since, until)) return undefined
  if (by === null) return state
  const named = state.tenures.find((tenure) => tenure.process === by.process && mayTake(tenure, since) && by.lockId >= tenure.numberLeast && by.lockId <= tenure.numberMost)
  if (named === undefined || (usage === undefined) !== (named.sharing === null)) return undefined
  const known = withFreeAt(state, named, by, since, until)
  if (known === undefined) return undefined
  const others = known.tenures.filter((tenure) => mayTake(tenure, since) && (ask.kind === 'request' || tenure.process !== ask.process))
  const isOwn = ask.kind === 'request' && others.some(({ process }) => process === ask.process)
  return isOwn || !fits(ask.sharing ?? null, others) ? known : undefined
}

/** With the instant known at which its permits are free. */
function withFreeAt(state: State, tenure: Tenure, { lockId, expiresAt, kept = false }: Pick<Told, 'lockId' | 'expiresAt'> & { readonly kept?: boolean }, since: number, until: number): State | undefined {
  const end = expiresAt ?? Number.POSITIVE_INFINITY
  if (kept ? mustHold(tenure, until) : !mayHold(tenure, since)) return undefined
  const named = numbered(state, tenure, lockId)
  if (named === undefined) return undefined
  const same = at(named, state, tenure)
  if (!same.ended) {
    if (kept && same.terms.lockDelayMs === 0) return undefined
    const ending = endingAt(same, end - same.terms.lockDelayMs)
    return ending && replaced(named, same, ending)
  }
  if (end < same.freeLeast || end > same.freeMost) return undefined
  return replaced(named, same, same.freeLeast === end && same.freeMost === end ? same : { ...same, freeLeast: end, freeMost: end })
}

/** The status of a resource: all who hold it, or after whom it is kept. */
function seen(state: State, { by, usage, all }: AnswerOf<'held'>, { since, until }: Span): State | undefined {
  if (by === null || (usage !== undefined && !isUsage({ ...usage, holders: state.tenures.filter((tenure) => mustTake(tenure, until)).length }, state.tenures, since, until))) return undefined
  const named = state.tenures.find((tenure) => tenure.process === by.process && mayTake(tenure, since) && by.lockId >= tenure.numberLeast && by.lockId <= tenure.numberMost)
  if (named === undefined) return undefined
  if (by.kept === true) {
    if (state.tenures.some((tenure) => mustHold(tenure, until) || (mustTake(tenure, until) && takenUntil(tenure) > (by.expiresAt ?? Number.POSITIVE_INFINITY)))) return undefined
    return withFreeAt(state, named, by, since, until)
  }
  if (all === undefined) {
    const beside = state.tenures.some((tenure) => tenure !== named && mustTake(tenure, until))
    return beside || named.sharing !== null || !mayHold(named, since) ? undefined : pinned(state, named, { process: by.process, lockId: by.lockId, expiresAt: by.expiresAt })
  }
  let known: State | undefined = state
  for (const told of all) {
    const holder: Tenure | undefined = known && latestOf(known, told.process)
    known = known !== undefined && holder !== undefined && mayHold(holder, since) ? pinned(known, holder, told) : undefined
  }
  const isMissing = state.tenures.some((tenure) => mustHold(tenure, until) && !all.some(({ process }) => process === tenure.process))
  return isMissing ? undefined : known
}

/** The grant that a command of its process means, if it may be held then. */
function meant(state: State, { process, lockId }: { readonly process: string; readonly lockId: number | null }, now: number): Tenure | undefined {
  const own = latestOf(state, process)
  return own !== undefined && mayHold(own, now) && (lockId === null || (lockId >= own.numberLeast && lockId <= own.numberMost)) ? own : undefined
}

/** Whether a command without a process means a grant that must be there. */
function mustMean({ tenures }: State, { lockId }: { readonly lockId: number | null }, until: number): boolean {
  return tenures.some((tenure) => mustHold(tenure, until) && (lockId === null || (tenure.numberLeast === lockId && tenure.numberMost === lockId)))
}

function renewed(state: State, ask: AskOf<'renew'>, { at: now, grant: told, revokedAt }: AnswerOf<'renewed'>): State | undefined {
  const own = now < state.now ? undefined : meant(state, ask, now)
  if (own === undefined || (revokedAt !== undefined && own.revoked !== (revokedAt !== null))) return undefined
  const ttlMs = ask.ttlMs === undefined ? own.ttlMs : ask.ttlMs
  const [revokeLeast, revokeMost] = revokedAt === undefined || revokedAt === null ? [own.revokeLeast, own.revokeMost] : [revokedAt, revokedAt]
  if (revokeLeast < own.revokeLeast || revokeMost > own.revokeMost) return undefined
  const end = now + (ttlMs ?? Number.POSITIVE_INFINITY)
  const moved = { ...own, least: Math.min(end, revokeLeast), most: Math.min(end, revokeMost), revokeLeast, revokeMost }
  const known = pinned(replaced(state, own, moved), moved, told)
  return known && { ...known, now }
}

/** Released by its process. */
function released(state: State, ask: AskOf<'release'>, { at: now, process, lockId, freeAt }: AnswerOf<'released'>): State | undefined {
  const number = lockId ?? ask.lockId
  const own = process !== ask.process || (ask.lockId !== null && ask.lockId !== number) ? undefined : meant(state, { process, lockId: number }, now)
  const named = own === undefined || number === null ? state : numbered(state, own, number)
  if (own === undefined || named === undefined) return undefined
  const same = at(named, state, own)
  const { holdAtLeastMs } = same.terms
  const keptUntil = (lockedAt: number): number => Math.max(now + (ask.keepMs ?? 0), holdAtLeastMs === 0 ? 0 : lockedAt + holdAtLeastMs)
  const free = freedAt(keptUntil(same.lockedLeast), keptUntil(same.lockedMost), now, freeAt)
  return free && { ...replaced(named, same, { ...same, ended: true, ...free }), now }
}

/** What is known of the instant at which permits are free; undefined where the answer says another. */
function freedAt(least: number, most: number, now: number, told: number | null | undefined): Pick<Tenure, 'freeLeast' | 'freeMost'> | undefined {
  if (told === null) return least > now ? undefined : { freeLeast: 0, freeMost: 0 }
  if (told === undefined) return most > now ? { freeLeast: least, freeMost: most } : { freeLeast: 0, freeMost: 0 }
  return told < least || told > most || told <= now ? undefined : { freeLeast: told, freeMost: told }
}

/** Taken away: one grant, or all of them; what is kept is freed. */
function takenAway(state: State, { lockId, freesAtOnce = false }: AskOf<'release'>, answer: AnswerOf<'released'>): State | undefined {
  const { at: now, process, all, freeAt } = answer
  const told = all ?? [{ process, lockId: answer.lockId }]
  const isMissing = lockId === null && state.tenures.some((tenure) => mustTake(tenure, now) && !told.some((one) => one.process === tenure.process))
  if (isMissing || (lockId !== null && told.some((one) => one.lockId !== null && one.lockId !== lockId))) return undefined
  let known: State | undefined = state
  for (const one of told) {
    const held: Tenure | undefined = known?.tenures.findLast((tenure) => tenure.process === one.process && mayTake(tenure, now))
    const named: State | undefined = known && held && (one.lockId === null ? known : numbered(known, held, one.lockId))
    if (known === undefined || held === undefined || named === undefined) return undefined
    const same = at(named, known, held)
    const { terms } = same
    const delayMs = freesAtOnce ? 0 : terms.lockDelayMs
    const least = delayMs > 0 && mustHold(same, now) ? now + delayMs : 0
    const most = delayMs > 0 && mayHold(same, now) ? now + delayMs : 0
    // The answer tells the latest of all.
    const free = freedAt(least, most, now, told.length === 1 || freeAt === null ? freeAt : undefined)
    if (free === undefined || (typeof freeAt === 'number' && least > freeAt)) return undefined
    const isOver = !same.ended && !mayHold(same, now)
    // Its lease ended before, and stays why it is not held: only the delay is cut short.
    known = replaced(named, same, isOver ? { ...same, terms: { ...terms, lockDelayMs: 0 }, freeLeast: now, freeMost: now } : { ...same, ended: true, unseenEnd: same.ended ? same.unseenEnd : !mustHold(same, now), ...free })
  }
  return known && { ...known, now }
}

/** Where the number stays, so does the instant of the grant, and no answer tells when it was converted. */
function converted(state: State, ask: AskOf<'convert'>, told: Told, { since }: Span): State | undefined {
  const { process, sharing } = ask
  const own = meant(state, ask, since)
  if (own === undefined || !isSame(told.sharing, sharing)) return undefined
  if (isSame(own.sharing, sharing)) return pinned(state, own, told)
  if (own.sharing === null) {
    const share: Tenure = { ...own, sharing, slots: undefined }
    if (told.slots !== undefined && !areSlots(told.slots, sharing, state.tenures.filter((tenure) => tenure !== own), since)) return undefined
    const known = pinned(replaced(state, own, share), share, told)
    return known && { ...known, now: since }
  }
  const { lockId, lockedAt, slots } = told
  const others = state.tenures.filter((tenure) => tenure !== own)
  const holders = others.filter((tenure) => mustTake(tenure, lockedAt))
  if (told.process !== process || lockedAt < state.now || lockId <= state.last || !mayHold(own, lockedAt) || !fits(sharing, holders)) return undefined
  if (slots !== undefined && !areSlots(slots, sharing, others, lockedAt)) return undefined
  const ending = endingAt(own, told.expiresAt ?? Number.POSITIVE_INFINITY)
  if (ending === undefined) return undefined
  return granted({ ...state, tenures: others }, { ...ending, requestId: null, sharing, slots, numberLeast: lockId, numberMost: lockId, lockedLeast: lockedAt, lockedMost: lockedAt }, lockedAt)
}

function revoked(state: State, { lockId, graceMs }: AskOf<'revoke'>, { all, lockId: lastId, revokeAt }: AnswerOf<'revoked'>, { since, until }: Span): State | undefined {
  if (lockId === null ? state.tenures.some((tenure) => mustHold(tenure, until) && !all.some(({ process }) => process === tenure.process)) : all.some((one) => one.lockId !== lockId)) return undefined
  // The grace of this one ends between these; that of an earlier one, which may be told, ends before.
  const [least, most] = [Math.max(since + graceMs, revokeAt), until + graceMs]
  if (revokeAt > most) return undefined
  let known: State | undefined = state
  for (const told of all) {
    const held: Tenure | undefined = known && latestOf(known, told.process)
    if (known === undefined || held === undefined || !mayHold(held, since)) return undefined
    const isTold = told.lockId === lastId
    const revokeLeast = isTold ? revokeAt : Math.min(held.revokeLeast, least)
    const revokeMost = isTold ? revokeAt : Math.min(held.revokeMost, most)
    if (revokeLeast < Math.min(held.revokeLeast, least) || revokeMost > held.revokeMost) return undefined
    const drawn = { ...held, revoked: true, revokeLeast, revokeMost, least: Math.min(held.least, revokeLeast), most: Math.min(held.most, revokeMost) }
    known = pinned(replaced(known, held, drawn), drawn, told)
  }
  return known && { ...known, now: since }
}

function isNotHeld(state: State, { ask }: Operation, reason: NotHeldReason | null, { since, until }: Span): boolean {
  if (ask.kind === 'look' || ask.kind === 'request' || ask.kind === 'give-back') return false
  const { process, lockId } = ask
  if (process === null) return !mustMean(state, ask, until) && isNobodys(state, reason, until)
  const { tenures } = state
  const own = latestOf(state, process)
  if (own !== undefined && mustMean({ ...state, tenures: [own] }, ask, until)) return false
  switch (reason) {
    case 'not_locked':
      return !tenures.some((tenure) => mustTake(tenure, until)) && (own === undefined || own !== tenures.at(-1))
    case 'held_by_other':
      return tenures.some((tenure) => mayTake(tenure, since) && (tenure !== own || (lockId !== null && lockId !== tenure.numberLeast)))
    case 'expired':
      return own !== undefined && !own.gone && (!own.ended || own.unseenEnd) && own.least <= until
    case 'released':
      return own?.ended === true && !own.gone
    case null:
      return true
  }
}

/** Why nobody holds it. Of shares, and of what was kept, that is how the last one to end ended, which is not known. */
function isNobodys({ tenures }: State, reason: NotHeldReason | null, until: number): boolean {
  const latest = tenures.at(-1)
  if (latest === undefined) return reason === 'not_locked'
  if (tenures.some((tenure) => mustTake(tenure, until)) || (reason !== 'expired' && reason !== 'released')) return false
  const isPlain = latest.sharing === null && latest.terms.holdAtLeastMs + latest.terms.lockDelayMs === 0 && !latest.revoked && latest.freeMost === 0
  if (!isPlain) return true
  return reason === 'expired' ? (!latest.ended || latest.unseenEnd) && latest.least <= until : latest.ended
}
