import { LockLostError, type LossReason } from './errors.js'
import type { Lease } from './leases.js'
import { grantOf, resultOf, retrying } from './transport.js'
import type { Grant, Sharing } from './types.js'

/* Pages load this when they first convert a lock: the rest of the client imports it by `import()` only. */

/** How long a conversion may keep the lock from being renewed: this share of its lease. */
const SHARE_OF_LEASE = 1 / 3

/** Resolves to the grant as it is then; undefined when other holders do not admit it. Rejects with a LockLostError when it is not held. */
export async function convert(lease: Lease, sharing: Sharing): Promise<Grant | undefined> {
  while (lease.renewing) await lease.renewing.catch(() => {})
  const converting = call(lease, sharing)
  // A renewal names the number, which a conversion may change.
  lease.renewing = converting
  try {
    return await converting
  } finally {
    lease.renewing = undefined
  }
}

async function call(lease: Lease, sharing: Sharing): Promise<Grant | undefined> {
  const { hold, grant } = lease
  const { context } = hold
  const { resourceName, processId, lockId } = grant
  if (!hold.held) throw hold.loss ?? new LockLostError(resourceName, lockId, 'released')
  const timeoutMs = Math.min(context.timeoutMs, (lease.leaseMs ?? Infinity) * SHARE_OF_LEASE)
  const answer = await retrying(
    (ms, failure) => {
      // A try whose answer was lost may have given it another number; a process has one lock of a resource.
      const body = { resourceName, processId, ...(failure?.outcomeUnknown ? {} : { lockId }), ...sharing }
      return context.transport.call({ method: 'POST', path: 'locks/convert', body, timeoutMs: ms })
    },
    { ...context, timeoutMs, retryMs: Math.min(context.retryMs, timeoutMs) }
  )
  if (answer.status === 404 && answer.body['code'] === 'LOCK_NOT_HELD') hold.lose(grant, answer.body['reason'] as LossReason)
  if (hold.loss) throw hold.loss
  if (answer.status === 409) return undefined
  return (lease.grant = grantOf(resultOf<Grant>(answer)))
}
