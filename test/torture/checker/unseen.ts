import type { Operation } from './operation.js'
import { fits, granted, isSame, latestOf, mayHold, mayTake, mustTake, newTenure, NO_TERMS, replaced, takenUntil, type State, type Tenure } from './tenure.js'

type AskOf<Kind extends Operation['ask']['kind']> = Extract<Operation['ask'], { kind: Kind }>

/** What was asked happens at that instant or later, and nobody is told; undefined where it cannot, or changes nothing. */
export function happenUnseen(state: State, { id, ask }: Operation, at: number): State | undefined {
  switch (ask.kind) {
    case 'request':
      return grantUnseen(state, ask, id, at)
    case 'give-back':
      return endUnseen(state, state.tenures.filter(({ from, claimed }) => from === ask.of && !claimed), at, () => [0, 0])
    case 'release':
      return releaseUnseen(state, ask, at)
    case 'renew':
      return renewUnseen(state, ask, at)
    case 'convert':
      return convertUnseen(state, ask, at)
    case 'revoke': {
      const held = state.tenures.filter((tenure) => mayHold(tenure, at) && isNamed(tenure, ask.lockId))
      if (held.length === 0) return undefined
      const end = at + ask.graceMs
      return held.reduce((after, tenure) => replaced(after, tenure, { ...tenure, revoked: true, revokeLeast: Math.min(tenure.revokeLeast, end), least: Math.min(tenure.least, end) }), { ...state, now: at })
    }
    case 'look':
      return undefined
  }
}

function isNamed({ numberLeast, numberMost }: Tenure, lockId: number | null): boolean {
  return lockId === null || (lockId >= numberLeast && lockId <= numberMost)
}

/** The first instant at which the others may admit it; Infinity where they never do. */
function admittedAt({ tenures }: State, process: string, asked: Tenure['sharing'], at: number): number {
  const ends = tenures.map(takenUntil).filter((end) => end > at).toSorted((a, b) => a - b)
  return [at, ...ends].find((time) => {
    const holders = tenures.filter((tenure) => mustTake(tenure, time))
    return fits(asked, holders) && !holders.some((holder) => holder.process === process)
  }) ?? Number.POSITIVE_INFINITY
}

function grantUnseen(state: State, { process, requestId, ttlMs, sharing = null, terms = NO_TERMS }: AskOf<'request'>, from: number, at: number): State | undefined {
  if (requestId !== null && state.used.includes(requestId)) return undefined
  const now = admittedAt(state, process, sharing, at)
  if (now === Number.POSITIVE_INFINITY) return undefined
  const tenure = {
    ...newTenure({ process, from, requestId, ttlMs, sharing, terms }),
    numberLeast: state.last + 1,
    slots: sharing === null || sharing.limit === null ? [] : undefined,
    lockedLeast: now,
    least: now + (ttlMs ?? Number.POSITIVE_INFINITY)
  }
  return granted(requestId === null ? state : { ...state, used: [...state.used, requestId] }, tenure, now)
}

/** @param free says for each when its permits are free, at the earliest and at the latest. */
function endUnseen(state: State, tenures: readonly Tenure[], at: number, free: (tenure: Tenure) => readonly [least: number, most: number]): State | undefined {
  const held = tenures.filter((tenure) => mayTake(tenure, at))
  if (held.length === 0) return undefined
  return held.reduce((after, tenure) => {
    const [freeLeast, freeMost] = free(tenure)
    return replaced(after, tenure, { ...tenure, ended: true, unseenEnd: tenure.ended ? tenure.unseenEnd : true, freeLeast, freeMost })
  }, { ...state, now: at })
}

function releaseUnseen(state: State, { process, lockId, keepMs = 0, freesAtOnce = false }: AskOf<'release'>, at: number): State | undefined {
  if (process === null) {
    return endUnseen(state, state.tenures.filter((tenure) => isNamed(tenure, lockId)), at, (tenure) => {
      const { lockDelayMs } = tenure.terms
      if (lockDelayMs === 0 || freesAtOnce || !mayHold(tenure, at)) return [0, 0]
      // Perhaps its lease had run out by then, and it was kept no longer.
      return [tenure.least === Number.POSITIVE_INFINITY ? at + lockDelayMs : 0, Number.POSITIVE_INFINITY]
    })
  }
  const own = latestOf(state, process)
  if (own === undefined || !mayHold(own, at) || !isNamed(own, lockId)) return undefined
  return endUnseen(state, [own], at, ({ lockedLeast, lockedMost, terms: { holdAtLeastMs } }) => {
    if (keepMs === 0 && holdAtLeastMs === 0) return [0, 0]
    const least = Math.max(at + keepMs, holdAtLeastMs === 0 ? 0 : lockedLeast + holdAtLeastMs)
    return [least, keepMs === 0 ? lockedMost + holdAtLeastMs : Number.POSITIVE_INFINITY]
  })
}

function renewUnseen(state: State, { process, lockId, ttlMs }: AskOf<'renew'>, at: number): State | undefined {
  const own = latestOf(state, process)
  if (own === undefined || !mayHold(own, at) || !isNamed(own, lockId)) return undefined
  const lease = ttlMs === undefined ? own.ttlMs : ttlMs
  const least = Math.min(at + (lease ?? Number.POSITIVE_INFINITY), own.revokeLeast)
  return { ...replaced(state, own, { ...own, least, most: own.revokeMost }), now: at }
}

function convertUnseen(state: State, { process, lockId, sharing }: AskOf<'convert'>, at: number): State | undefined {
  const own = latestOf(state, process)
  if (own === undefined || !mayHold(own, at) || !isNamed(own, lockId) || isSame(own.sharing, sharing)) return undefined
  const slots = sharing === null || sharing.limit === null ? [] : undefined
  if (own.sharing === null) return { ...replaced(state, own, { ...own, sharing, slots }), now: at }
  const others = { ...state, tenures: state.tenures.filter((tenure) => tenure !== own) }
  const now = admittedAt(others, process, sharing, at)
  if (!mayHold(own, now)) return undefined
  return granted(others, { ...own, requestId: null, sharing, slots, numberLeast: state.last + 1, numberMost: Number.POSITIVE_INFINITY, lockedLeast: now, lockedMost: Number.POSITIVE_INFINITY }, now)
}
