import { createHash } from 'node:crypto'
import type { Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'

export interface Fingerprinted {
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly ttlMs: TtlMs | undefined
  readonly metadata: Metadata | null
}

/** A digest of all that a request asks for: the same for a repetition, another for other content. The order of metadata's keys counts. */
export function fingerprintOf({ resourceNames, processId, ttlMs, metadata }: Fingerprinted): string {
  const content = JSON.stringify([resourceNames, processId, ttlMs === undefined ? 'default' : ttlMs, metadata])
  return createHash('sha256').update(content).digest('base64url')
}
