import type { LockApi } from '../locking/lock-api.js'
import { DocumentGuard, type DocumentGuardOptions, type GuardedDocuments, type GuardedRequest } from './document-guards.js'
import type { Refusal } from './faults.js'
import { isRefusal, letGo, lockFor, type LockOf, type ResourceLockOptions } from './resource-guard.js'
import { ended, type RawResponse } from './response.js'

/** The part of Fastify's reply that the guards need. */
export interface FastifyLikeReply {
  readonly raw: RawResponse
  readonly sent: boolean
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

    /** Lets the document go after the answer was sent with a 2xx. */
    releaseDocumentLock: (param: string): FastifyGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return async (request, reply) => pass(guard.releaseAfter(request, reply.raw), reply)
    }
  }
}

/**
 * Wraps a handler of Fastify 5 so that it runs while it has the lock, which is let go when the handler has settled; where
 * it answers later by `reply.send`, when that was sent or the client has gone. Refuses with 409 while somebody has the
 * lock, and with 503 when that cannot be found out.
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
    const lock = await lockFor(api, keyOf(request), options)
    if (isRefusal(lock)) return refuse(lock, reply)
    try {
      const answer = await handler(request, reply, lock)
      if (answer === undefined && !reply.sent) await ended(reply.raw)
      return answer === undefined ? reply : answer
    } finally {
      await letGo(lock, options)
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
