import type { NotHeldReason } from '../../src/locks/lock.js'
import type { Answer, Holder, Told, UsageTold } from './checker/operation.js'
import type { CallOutcome, HttpAnswer } from './http-call.js'
import type { Asks } from './recorder.js'

/** What the service says on the wire of a grant. */
interface WireGrant {
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
  readonly locked_at: string
  readonly expires_at: string | null
  readonly mode?: 'shared'
  readonly limit?: number | null
  readonly permits?: number
  readonly slots?: readonly number[]
  readonly renewed_at?: string
  readonly revoked?: { readonly at: string } | null
  readonly released_at?: string
  readonly free_at?: string
}

/** What it says of a holder that stands in the way. */
interface WireConflict {
  readonly resource_name: string
  readonly locked_by: string
  readonly lock_id: number | null
  readonly expires_at: string | null
  readonly kept?: true
  readonly holders?: number
  readonly used?: number
  readonly limit?: number | null
}

/** Answers in the order of the asks: undefined where nothing happened, or nothing is known of that resource. */
export type Reading = readonly (Answer | undefined)[]

/** Nothing was changed, says the service. */
const HARMLESS = new Set(['STORAGE_UNAVAILABLE', 'OVERLOADED', 'DRAINING', 'REQUEST_TIMEOUT'])

/** Reads what a call came to; undefined for an answer that the contract does not know. */
export function readAnswer(asks: Asks, outcome: CallOutcome): Reading | undefined {
  if (outcome === 'refused') return []
  if (outcome === 'lost') return asks.map(() => ({ kind: 'unknown' }))
  const { status, body } = outcome
  const code = String(body['code'])
  if (status === 503 && code === 'OUTCOME_UNKNOWN') return asks.map(() => ({ kind: 'unknown' }))
  if (HARMLESS.has(code)) return []
  // The key was revoked, perhaps while the request waited: what it was granted then is given back.
  if (status === 401) return asks.map(([, ask]) => (ask.kind === 'request' && ask.waits ? { kind: 'unknown' } : undefined))
  const [[resource, first] = []] = asks
  if (resource === undefined || first === undefined) return []
  if (status === 409 && code === 'REQUEST_ID_REUSED') return asks.map(() => ({ kind: 'reused' }))
  if (status === 409 && code === 'RESOURCE_LOCKED') return conflicts(asks, outcome)
  if (status === 409 && code === 'LOCK_CHANGED') return [{ kind: 'changed' }]
  if (status === 404 && code === 'LOCK_NOT_HELD') return [{ kind: 'not-held', reason: body['reason'] as NotHeldReason }]
  return status === 200 && body.data !== undefined ? success(asks, body.data) : undefined
}

function success(asks: Asks, data: Readonly<Record<string, unknown>>): Reading | undefined {
  const one = data as unknown as WireGrant
  const [[, ask] = []] = asks
  if (ask?.kind === 'revoke') return [revoked(data)]
  if (ask?.kind === 'release' && ask.process === null) {
    const all = data['released'] as readonly WireGrant[] | undefined
    return [{ ...released(one), ...(all === undefined ? {} : { all: all.map(told) }) }]
  }
  const locks = (data['locks'] ?? data['released'] ?? data['renewed']) as readonly WireGrant[] | undefined
  if (locks !== undefined) return listed(asks, locks, data)
  switch (ask?.kind) {
    case 'request':
      return [{ kind: 'granted', grant: told(one), replayed: data['replayed'] === true }]
    case 'renew':
      return [renewed(one)]
    case 'release':
      return [released(one)]
    case 'convert':
      return [{ kind: 'converted', grant: told(one) }]
    case 'look':
      return [data['is_locked'] === false ? { kind: 'free' } : status(data)]
    case 'give-back':
    case undefined:
      return undefined
  }
}

/** Calls for several resources: what is not listed is not held, for the reason that stands beside, if any. */
function listed(asks: Asks, locks: readonly WireGrant[], data: Readonly<Record<string, unknown>>): Reading | undefined {
  const notHeld = (data['not_held'] ?? []) as readonly { resource_name: string; reason: NotHeldReason }[]
  const answers = asks.map(([resource, ask]): Answer | undefined => {
    const lock = locks.find(({ resource_name }) => resource_name === resource)
    if (lock === undefined) return ask.kind === 'request' ? undefined : { kind: 'not-held', reason: notHeld.find(({ resource_name }) => resource_name === resource)?.reason ?? null }
    if (ask.kind === 'request') return { kind: 'granted', grant: told(lock), replayed: data['replayed'] === true }
    return ask.kind === 'renew' ? renewed(lock) : released(lock)
  })
  return answers.includes(undefined) ? undefined : answers
}

function conflicts(asks: Asks, { body }: HttpAnswer): Reading {
  const all = (body['conflicts'] ?? [body]) as readonly WireConflict[]
  return asks.map(([resource]): Answer | undefined => {
    const conflict = all.find(({ resource_name }) => resource_name === resource)
    return conflict === undefined ? undefined : { kind: 'held', by: holderOf(conflict), ...usageOf(conflict) }
  })
}

function holderOf({ locked_by: process, lock_id: lockId, expires_at, kept }: WireConflict): Holder | null {
  return lockId === null ? null : { process, lockId, expiresAt: timeOrNull(expires_at), ...(kept === true ? { kept } : {}) }
}

function usageOf({ holders, used = 0, limit = null }: Pick<WireConflict, 'holders' | 'used' | 'limit'>): { usage?: UsageTold } {
  return holders === undefined ? {} : { usage: { holders, used, limit } }
}

function status(data: Readonly<Record<string, unknown>>): Answer {
  const conflict = data as unknown as WireConflict
  const all = data['holders'] as readonly WireGrant[] | undefined
  if (all === undefined) return { kind: 'held', by: holderOf(conflict) }
  return { kind: 'held', by: holderOf(conflict), all: all.map(told), ...usageOf({ ...conflict, holders: data['total_holders'] as number }) }
}

function renewed(lock: WireGrant): Answer {
  return { kind: 'renewed', grant: told(lock), at: Date.parse(lock.renewed_at ?? ''), revokedAt: timeOrNull(lock.revoked?.at ?? null) }
}

function released({ process_id: process, lock_id, released_at = '', free_at }: WireGrant): Extract<Answer, { kind: 'released' }> {
  return { kind: 'released', at: Date.parse(released_at), process, lockId: lock_id ?? null, freeAt: timeOrNull(free_at ?? null) }
}

function revoked(data: Readonly<Record<string, unknown>>): Answer {
  const last = data as unknown as WireGrant & { readonly revoke_at: string }
  const all = (data['revoked'] ?? [last]) as readonly WireGrant[]
  return { kind: 'revoked', all: all.map(told), lockId: last.lock_id, revokeAt: Date.parse(last.revoke_at) }
}

function told({ process_id: process, lock_id: lockId, locked_at, expires_at, mode, limit = null, permits = 1, slots }: WireGrant): Told {
  return { process, lockId, lockedAt: Date.parse(locked_at), expiresAt: timeOrNull(expires_at), sharing: mode === undefined ? null : { limit, permits }, slots: slots ?? [] }
}

function timeOrNull(text: string | null): number | null {
  return text === null ? null : Date.parse(text)
}
