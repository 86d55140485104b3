import { grantOf, resultOf } from './api.js'
import { LockLostError, type LossReason } from './errors.js'
import { HeldLock } from './held-lock.js'
import type { Lease } from './leases.js'
import { retrying } from './transport.js'
import type { Grant, Sharing } from './types.js'

/* Pages load this when they first convert a lock: the rest of the client imports it by `import()` only. */

/** How long a conversion may keep the lock from being renewed: this share of its lease. */
const SHARE_OF_LEASE = 1 / 3

/** Resolves to whether the other holders admitted it. */
export async function convert(lock: HeldLock, lease: Lease, sharing: Sharing): Promise<boolean> {
  while (lease.renewing) await lease.renewing.catch(() => {})
  const converting = call(lock, lease, sharing)
  // A renewal names the number, which a conversion may change.
  lease.renewing = converting
  try {
    return await converting
  } finally {
    lease.renewing = undefined
  }
}

async function call(lock: HeldLock, lease: Lease, sharing: Sharing): Promise<boolean> {
  const { context } = lease.hold
  const { resourceName, processId, lockId } = lease.grant
  if (!lock.held) throw lock.loss ?? new LockLostError(resourceName, lockId, 'released')
  const timeoutMs = Math.min(context.timeoutMs, (lease.leaseMs ?? Infinity) * SHARE_OF_LEASE)
  const answer = await retrying(
    (ms, failure) => {
      // A try whose answer was lost may have given it another number; a process has one lock of a resource.
      const body = { resourceName, processId, ...(failure?.outcomeUnknown ? {} : { lockId }), ...sharing }
      return context.transport.call({ method: 'POST', path: 'locks/convert', body, timeoutMs: ms })
    },
    { ...context, timeoutMs, retryMs: Math.min(context.retryMs, timeoutMs) }
  )
  if (answer.status === 404 && answer.body['code'] === 'LOCK_NOT_HELD') HeldLock.lose(lock, answer.body['reason'] as LossReason)
  if (lock.loss) throw lock.loss
  if (answer.status === 409) return false
  lease.grant = grantOf(resultOf<Grant>(answer))
  HeldLock.show(lock, lease.grant)
  return true
}
