import type { ForceReleaseOutcome, Grant, Health, NotHeld, RevokeOutcome, Sharing } from './answers.js'
import type { ClientContext, ForceReleaseOptions, RevokeOptions } from './api.js'
import { LockLostError, type LossReason } from './errors.js'
import type { Lease } from './leases.js'
import { grantOf, notHeldOf, resultOf, retrying, type Answer } from './transport.js'

/* The calls that few pages make, which load them when they first make one: the rest of the client imports them by `import()` only. */

type Context = Omit<ClientContext, 'calls'>

/** See `LockCalls.forceRelease`. */
export async function forceRelease(context: Context, resourceName: string, reason: string, { signal, ...options }: ForceReleaseOptions): Promise<ForceReleaseOutcome> {
  const answer = await ask(context, 'locks/force-release', { resourceName, reason, ...options }, signal)
  if (answer.status !== 200) return refusalOf(answer)
  const { releasedAt, released, ...grant } = resultOf<Grant & { releasedAt: Date; released?: readonly Grant[] }>(answer)
  return { kind: 'released', releasedAt, ...concerned(grant, released) }
}

/** See `LockCalls.revoke`. */
export async function revoke(context: Context, resourceName: string, reason: string, { signal, ...options }: RevokeOptions): Promise<RevokeOutcome> {
  const answer = await ask(context, 'locks/revoke', { resourceName, reason, ...options }, signal)
  if (answer.status !== 200) return refusalOf(answer)
  const { revokeAt, revoked, ...grant } = resultOf<Grant & { revokeAt: Date; revoked?: readonly Grant[] }>(answer)
  return { kind: 'revoked', revokeAt, ...concerned(grant, revoked) }
}

function refusalOf(answer: Answer): NotHeld | { readonly kind: 'changed' } {
  return answer.status === 409 ? { kind: 'changed' } : notHeldOf(answer)
}

function concerned(grant: Grant, all: readonly Grant[] = [grant]): { readonly grant: Grant; readonly all: readonly Grant[] } {
  return { grant: grantOf(grant), all: all.map(grantOf) }
}

/** Without a number, a repetition might concern the lock of the next holder: such a call is made once. */
function ask(context: Context, path: string, body: { readonly lockId?: number | undefined; readonly [field: string]: unknown }, signal: AbortSignal | undefined): Promise<Answer> {
  const call = (timeoutMs?: number): Promise<Answer> => context.transport.call({ method: 'POST', path, body, signal, timeoutMs })
  return body.lockId === undefined ? call() : retrying(call, context, signal)
}

/** See `LockCalls.health`. */
export async function health({ transport }: Context, signal: AbortSignal | undefined): Promise<Health> {
  const { response, body } = await transport.send({ method: 'GET', path: 'health', signal })
  return { healthy: response.status === 200 && body['status'] === 'healthy', service: String(body['service']), database: String(body['database']) }
}

/** How long a conversion may keep the lock from being renewed: this share of its lease. */
const SHARE_OF_LEASE = 1 / 3

/** Converts a lock that renews itself. Resolves to the grant as it is then; undefined when other holders do not admit it. Rejects with a LockLostError when it is not held. */
export async function convert(lease: Lease, sharing: Sharing): Promise<Grant | undefined> {
  while (lease.renewing) await lease.renewing.catch(() => {})
  const converting = callToConvert(lease, sharing)
  // A renewal names the number, which a conversion may change.
  lease.renewing = converting
  try {
    return await converting
  } finally {
    lease.renewing = undefined
  }
}

async function callToConvert(lease: Lease, sharing: Sharing): Promise<Grant | undefined> {
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
