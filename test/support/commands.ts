import type { AcquireCommand, ConvertCommand, InspectCommand, ReleaseCommand, RenewAllCommand, RenewCommand, RevokeCommand, SweepCommand } from '../../src/locks/commands.js'
import type { EnqueueCommand } from '../../src/locks/queue-commands.js'
import { LockError } from '../../src/locks/errors.js'
import { processId, resourceName, type Terms, type TtlMs } from '../../src/locks/lock.js'
import type { HistoryQuery, ListQuery } from '../../src/locks/store.js'

/** Commands in few words; a list of names asks for all of them together. */

export function acquire(names: string | readonly string[], process: string, ttlMs: TtlMs = null, idempotencyKey: AcquireCommand['idempotencyKey'] = null): AcquireCommand {
  return {
    kind: 'acquire',
    resourceNames: [names].flat().map(resourceName),
    processId: processId(process),
    ttlMs,
    metadata: null,
    idempotencyKey,
    ticket: null,
    key: null
  }
}

export interface ShareOptions {
  readonly ttlMs?: TtlMs
  readonly limit?: number | null
  readonly permits?: number
  readonly idempotencyKey?: AcquireCommand['idempotencyKey']
  readonly ticket?: number | null
  readonly key?: string | null
}

/** A request for a share of one or of each of several resources. */
export function share(names: string | readonly string[], process: string, { ttlMs = null, limit = null, permits = 1, idempotencyKey = null, ticket = null, key = null }: ShareOptions = {}): AcquireCommand {
  return { ...acquire(names, process, ttlMs, idempotencyKey), sharing: [names].flat().map(() => ({ limit, permits })), ticket, key }
}

/** A conversion to a share, or to all of the resource. */
export function convert(name: string, process: string, sharing: ConvertCommand['sharing'], lockId: number | null = null): ConvertCommand {
  return { kind: 'convert', resourceName: resourceName(name), processId: processId(process), lockId, key: null, sharing }
}

/** A place in line for one or several resources. */
export function enqueue(names: string | readonly string[], process: string, idempotencyKey: EnqueueCommand['idempotencyKey'] = null): EnqueueCommand {
  return { kind: 'enqueue', resourceNames: [names].flat().map(resourceName), processId: processId(process), idempotencyKey, key: null, onlyKept: false }
}

export function release(name: string, process: string, lockId: number | null = null): ReleaseCommand {
  return { kind: 'release', resourceName: resourceName(name), processId: processId(process), lockId, reason: null, key: null }
}

/** A request for all of a resource, with terms about its end. */
export function withTerms(name: string, process: string, { ttlMs = null, holdAtLeastMs = 0, lockDelayMs = 0 }: Partial<Terms> & { readonly ttlMs?: TtlMs } = {}): AcquireCommand {
  return { ...acquire(name, process, ttlMs), terms: { holdAtLeastMs, lockDelayMs } }
}

export function keep(name: string, process: string, keepMs: number, lockId: number | null = null): ReleaseCommand {
  return { ...release(name, process, lockId), keepMs }
}

export function revoke(name: string, graceMs: number, lockId: number | null = null): RevokeCommand {
  return { kind: 'revoke', resourceName: resourceName(name), lockId, reason: 'drain', graceMs }
}

export function force(name: string, reason: string, lockId: number | null = null): ReleaseCommand {
  return { kind: 'release', resourceName: resourceName(name), processId: null, lockId, reason, key: null }
}

export function renew(name: string, process: string, ttlMs?: TtlMs, lockId: number | null = null): RenewCommand {
  return { kind: 'renew', resourceName: resourceName(name), processId: processId(process), ttlMs, lockId, key: null }
}

export function renewAndRestart(name: string, process: string, ttlMs?: TtlMs, metadata: RenewCommand['metadata'] = null): RenewCommand {
  return { ...renew(name, process, ttlMs), metadata, restartLease: true }
}

export function renewAll(process: string, ttlMs?: TtlMs, after = '', limit = 100): RenewAllCommand {
  return { kind: 'renew-all', processId: processId(process), ttlMs, after, limit, prefix: '', key: null }
}

export function inspect(name: string): InspectCommand {
  return { kind: 'inspect', resourceName: resourceName(name) }
}

export const sweep: SweepCommand = { kind: 'sweep', limit: 100 }

export const everything: ListQuery = { prefix: '', processId: null, after: null, limit: 1000 }
export const allEvents: HistoryQuery = { prefix: '', resourceName: null, processId: null, before: null, limit: 1000 }

/** What became of a command: the kind of its outcome, or the code of its fault. */
export async function kindOrCode(submitted: Promise<{ readonly kind: string }>): Promise<string> {
  try {
    return (await submitted).kind
  } catch (error) {
    if (error instanceof LockError) return error.code
    throw error
  }
}
