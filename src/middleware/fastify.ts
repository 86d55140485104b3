import type { LockApi } from '../client/api.js'
import { DocumentGuard, isRefusal, RequestLock, type DocumentGuardOptions, type GuardedDocuments, type GuardedRequest, type LockOf, type RawResponse, type Refusal, type ResourceLockOptions } from './guards.js'

/** The part of Fastify's reply that the guards need. */
export interface FastifyLikeReply {
  readonly raw: RawResponse
  code(status: number): { send(body: unknown): unknown }
}

/** A `preHandler` of Fastify 5. */
export type FastifyGuard = (request: GuardedRequest, reply: FastifyLikeReply) => Promise<unknown>

/** The guards of routes that edit documents, for Fastify 5: `preHandler`s. `request.user` has to be set before them. */
export function documentGuards(documents: GuardedDocuments, options: DocumentGuardOptions = {}) {
  return {
    /**
     * Locks the document whose id is that route parameter for `request.user`. Refuses with 409 `{error, lockedBy}` while
     * another user has it, with 401 where nobody is signed in, and with 503 when that cannot be found out.
     */
    acquireDocumentLock: (param: string): FastifyGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return async (request, reply) => pass(await guard.acquire(request, reply.raw), reply)
    },

    /** Releases the document after the answer was sent with a 2xx. With `requireLock`, refuses with 409 a user who does not hold it. */
    releaseDocumentLock: (param: string): FastifyGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return async (request, reply) => pass(await guard.release(request, reply.raw), reply)
    }
  }
}

/**
 * Wraps a handler of Fastify 5 so that it runs while it has the lock, which is released when the handler has settled and its
 * answer was sent, be it a stream or by `reply.hijack()`, or the client has gone. Refuses with 409 while somebody has the lock,
 * and with 503 when that cannot be found out.
 *
 * @param keyOf names what a request locks.
 */
export function withResourceLock<Api extends LockApi, Request, Reply extends FastifyLikeReply, Answer>(
  api: Api,
  keyOf: (request: Request) => string,
  handler: (request: Request, reply: Reply, lock: LockOf<Api>) => Promise<Answer> | Answer,
  options: ResourceLockOptions = {}
): (request: Request, reply: Reply) => Promise<Answer | Reply> {
  return async (request, reply) => {
    const taken = await RequestLock.take(api, keyOf(request), options)
    if (isRefusal(taken)) return refuse(taken, reply)
    try {
      const answer = await handler(request, reply, taken.lock)
      taken.releaseAfter(reply.raw)
      return answer === undefined ? reply : answer
    } catch (error) {
      taken.release()
      throw error
    }
  }
}

function pass(refusal: Refusal | undefined, reply: FastifyLikeReply): unknown {
  return refusal === undefined ? undefined : refuse(refusal, reply)
}

function refuse<Reply extends FastifyLikeReply>({ status, body }: Refusal, reply: Reply): Reply {
  reply.code(status).send(body)
  return reply
}
