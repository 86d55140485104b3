import type { ClientContext, ForceReleaseOptions } from './api.js'
import { grantOf, notHeldOf, resultOf, retrying, type Answer } from './transport.js'
import type { ForceReleaseOutcome, Grant, Health, NotHeld, RevokeOptions, RevokeOutcome } from './types.js'

/* Pages load these calls when they first make one: the rest of the client imports them by `import()` only. */

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
