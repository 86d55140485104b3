import type { Answer, Ask, Operation, Told } from './operation.js'

/*
 * Words for small histories whose verdict can be read off. Each operation stands as [from, to] on one axis, which is the order of
 * the stamps and the client's clock at once.
 */
export const EXACT = { clocksMs: 0 }
export const NEVER = Number.POSITIVE_INFINITY

let ids = 0
export function operation([called, answered]: readonly [number, number], ask: Ask, answer: Answer): Operation {
  return { id: (ids += 1), resource: 'a', ask, answer, called, answered, calledAt: called, answeredAt: answered }
}

export function request(process: string, more: Partial<Extract<Ask, { kind: 'request' }>> = {}): Ask {
  return { kind: 'request', process, ttlMs: null, waits: false, requestId: null, ...more }
}

export function granted(process: string, lockId: number, lockedAt: number, expiresAt: number | null = null, replayed = false): Answer {
  return { kind: 'granted', grant: { process, lockId, lockedAt, expiresAt }, replayed }
}

export const look: Ask = { kind: 'look' }
export const free: Answer = { kind: 'free' }
export const unknown: Answer = { kind: 'unknown' }
export const release = (process: string | null, lockId: number | null = null, more: { readonly keepMs?: number; readonly freesAtOnce?: boolean } = {}): Ask => ({ kind: 'release', process, lockId, ...more })
export const released = (process: string, at: number, more: Partial<Extract<Answer, { kind: 'released' }>> = {}): Answer => ({ kind: 'released', at, process, lockId: null, ...more })
export const heldBy = (process: string, lockId: number, expiresAt: number | null = null): Answer => ({ kind: 'held', by: { process, lockId, expiresAt } })
export const notHeld = (reason: Extract<Answer, { kind: 'not-held' }>['reason']): Answer => ({ kind: 'not-held', reason })
export const told = (process: string, lockId: number, lockedAt: number, expiresAt: number | null = null, more: Partial<Told> = {}): Told => ({ process, lockId, lockedAt, expiresAt, ...more })
