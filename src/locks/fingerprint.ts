import { createHash } from 'node:crypto'
import type { IdempotencyKey } from './commands.js'
import type { Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'

export interface Fingerprinted {
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly ttlMs: TtlMs | undefined
  readonly metadata: Metadata | null
  /** The name of the key of whoever asks; null or left out where there is none. */
  readonly key?: string | null
}

/** A digest of all that a request asks for: the same for a repetition, another for other content or another key. The order of metadata's keys counts. */
export function fingerprintOf({ resourceNames, processId, ttlMs, metadata, key = null }: Fingerprinted): string {
  const content = JSON.stringify([resourceNames, processId, ttlMs === undefined ? 'default' : ttlMs, metadata, ...(key === null ? [] : [key])])
  return createHash('sha256').update(content).digest('base64url')
}

/** Each key has ids of its own: whoever happens upon the id of another key learns nothing of it, and does not take it either. */
export function idempotencyKeyOf(requestId: string, content: Fingerprinted): IdempotencyKey {
  const { key = null } = content
  return { id: key === null ? requestId : JSON.stringify([key, requestId]), fingerprint: fingerprintOf(content) }
}
