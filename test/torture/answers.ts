import type { NotHeldReason } from '../../src/locks/lock.js'
import type { Answer, Told } from './checker/operation.js'
import type { CallOutcome, HttpAnswer } from './http-call.js'
import type { Asks } from './recorder.js'

/** What the service says on the wire of a grant. */
interface WireGrant {
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
  readonly locked_at: string
  readonly expires_at: string | null
  readonly renewed_at?: string
  readonly released_at?: string
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
  const locks = (data['locks'] ?? data['released']) as readonly WireGrant[] | undefined
  if (locks !== undefined) return listed(asks, locks, data)
  const one = data as unknown as WireGrant
  const [[, ask] = []] = asks
  switch (ask?.kind) {
    case 'request':
      return [{ kind: 'granted', grant: told(one), replayed: data['replayed'] === true }]
    case 'renew':
      return [{ kind: 'renewed', grant: told(one), at: Date.parse(one.renewed_at ?? '') }]
    case 'release':
      return [{ kind: 'released', at: Date.parse(one.released_at ?? ''), process: one.process_id, lockId: one.lock_id ?? null }]
    case 'look':
      if (data['is_locked'] === false) return [{ kind: 'free' }]
      return [{ kind: 'held', by: { process: String(data['locked_by']), lockId: one.lock_id, expiresAt: timeOrNull(one.expires_at) } }]
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
    if (ask.kind === 'renew') return { kind: 'renewed', grant: told(lock), at: Date.parse(lock.renewed_at ?? '') }
    return { kind: 'released', at: Date.parse(lock.released_at ?? ''), process: lock.process_id, lockId: lock.lock_id }
  })
  return answers.includes(undefined) ? undefined : answers
}

function conflicts(asks: Asks, { body }: HttpAnswer): Reading {
  type Conflict = { resource_name: string; locked_by: string; lock_id: number | null; expires_at: string | null }
  const all = (body['conflicts'] ?? [body]) as readonly Conflict[]
  return asks.map(([resource]): Answer | undefined => {
    const conflict = all.find(({ resource_name }) => resource_name === resource)
    if (conflict === undefined) return undefined
    const { locked_by: process, lock_id: lockId, expires_at } = conflict
    return { kind: 'held', by: lockId === null ? null : { process, lockId, expiresAt: timeOrNull(expires_at) } }
  })
}

function told({ process_id: process, lock_id: lockId, locked_at, expires_at }: WireGrant): Told {
  return { process, lockId, lockedAt: Date.parse(locked_at), expiresAt: timeOrNull(expires_at) }
}

function timeOrNull(text: string | null): number | null {
  return text === null ? null : Date.parse(text)
}
