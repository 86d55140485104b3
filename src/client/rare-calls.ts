import type { ClientContext, ForceReleaseOptions } from './api.js'
import { grantOf, notHeldOf, resultOf, retrying, type Answer } from './transport.js'
import type { ForceReleaseOutcome, Grant, Health } from './types.js'

/* Pages load these calls when they first make one: the rest of the client imports them by `import()` only. */

type Context = Omit<ClientContext, 'calls'>

/** See `LockCalls.forceRelease`. */
export async function forceRelease(context: Context, resourceName: string, reason: string, { lockId, signal }: ForceReleaseOptions): Promise<ForceReleaseOutcome> {
  const call = (timeoutMs?: number): Promise<Answer> =>
    context.transport.call({ method: 'POST', path: 'locks/force-release', body: { resourceName, reason, lockId }, signal, timeoutMs })
  // Without a number, a repetition might take away the lock of the next holder.
  const answer = await (lockId === undefined ? call() : retrying(call, context, signal))
  if (answer.status === 409) return { kind: 'changed' }
  if (answer.status === 404) return notHeldOf(answer)
  const { releasedAt, ...grant } = resultOf<Grant & { releasedAt: Date }>(answer)
  return { kind: 'released', grant: grantOf(grant), releasedAt }
}

/** See `LockCalls.health`. */
export async function health({ transport }: Context, signal: AbortSignal | undefined): Promise<Health> {
  const { response, body } = await transport.send({ method: 'GET', path: 'health', signal })
  return { healthy: response.status === 200 && body['status'] === 'healthy', service: String(body['service']), database: String(body['database']) }
}
