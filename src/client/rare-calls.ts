import type { ClientContext, ForceReleaseOptions } from './api.js'
import { grantOf, notHeldOf, resultOf, retrying, type Answer } from './transport.js'
import type { ForceReleaseOutcome, Grant, Health, RevokeOptions, RevokeOutcome } from './types.js'

/* Pages load these calls when they first make one: the rest of the client imports them by `import()` only. */

type Context = Omit<ClientContext, 'calls'>

/** See `LockCalls.forceRelease`. */
export async function forceRelease(context: Context, resourceName: string, reason: string, { signal, ...options }: ForceReleaseOptions): Promise<ForceReleaseOutcome> {
  const answer = await ask(context, 'locks/force-release', { resourceName, reason, ...options }, signal)
  if (answer.status === 409) return { kind: 'changed' }
  if (answer.status === 404) return notHeldOf(answer)
  const { releasedAt, ...grant } = resultOf<Grant & { releasedAt: Date }>(answer)
  return { kind: 'released', grant: grantOf(grant), releasedAt }
}

/** See `LockCalls.revoke`. */
export async function revoke(context: Context, resourceName: string, reason: string, { signal, ...options }: RevokeOptions): Promise<RevokeOutcome> {
  const answer = await ask(context, 'locks/revoke', { resourceName, reason, ...options }, signal)
  if (answer.status === 409) return { kind: 'changed' }
  if (answer.status === 404) return notHeldOf(answer)
  const { revokeAt, ...grant } = resultOf<Grant & { revokeAt: Date }>(answer)
  return { kind: 'revoked', grant: grantOf(grant), revokeAt }
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
