import type { AcquireCommand, InspectCommand, ReleaseCommand, SweepCommand } from '../../src/locks/commands.js'
import { LockError } from '../../src/locks/errors.js'
import { processId, resourceName } from '../../src/locks/lock.js'

/** Commands as a test writes them. */
export const acquire = (name: string, process: string, ttlMs: number | null = null): AcquireCommand => ({
  kind: 'acquire',
  resourceName: resourceName(name),
  processId: processId(process),
  ttlMs,
  metadata: null
})

export const release = (name: string, process: string, lockId: number | null = null): ReleaseCommand => ({
  kind: 'release',
  resourceName: resourceName(name),
  processId: processId(process),
  lockId
})

export const inspect = (name: string): InspectCommand => ({ kind: 'inspect', resourceName: resourceName(name) })

export const sweep = (bite = 100): SweepCommand => ({ kind: 'sweep', bite })

/** What became of a command: the kind of its outcome, or the code of its fault. */
export async function kindOrCode(submitted: Promise<{ readonly kind: string }>): Promise<string> {
  try {
    return (await submitted).kind
  } catch (error) {
    if (error instanceof LockError) return error.code
    throw error
  }
}
