import type { LockApi } from '../locking/lock-api.js'
import { DocumentGuard, type DocumentGuardOptions, type GuardedDocuments, type GuardedRequest } from './document-guards.js'
import type { Refusal } from './faults.js'
import { isRefusal, letGo, lockFor, type LockOf, type ResourceLockOptions } from './resource-guard.js'
import { ended, type RawResponse } from './response.js'

/** The part of Express's response that the guards need. */
export interface ExpressResponse extends RawResponse {
  status(code: number): { json(body: unknown): unknown }
}

type Next = (error?: unknown) => void

/** A middleware of Express 5, which hands a rejection to the error handlers. */
export type ExpressGuard = (request: GuardedRequest, response: ExpressResponse, next: Next) => Promise<void>

/** The guards of routes that edit documents, for Express 5. `request.user` has to be set before them. */
export function documentGuards(documents: GuardedDocuments, options: DocumentGuardOptions = {}) {
  return {
    /**
     * Locks the document whose id is that route parameter for `request.user`. Refuses with 409 `{error, lockedBy}` while
     * another user has it, with 401 where nobody is signed in, and with 503 when that cannot be found out.
     */
    acquireDocumentLock: (param: string): ExpressGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return async (request, response, next) => pass(await guard.acquire(request, response), response, next)
    },

    /** Lets the document go after the answer was sent with a 2xx; stands before the handler that answers. */
    releaseDocumentLock: (param: string): ExpressGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return async (request, response, next) => pass(guard.releaseAfter(request, response), response, next)
    }
  }
}

/**
 * Wraps a handler of Express 5 so that it runs while it has the lock. The lock is let go when the handler has settled and
 * its answer was sent, or the client has gone. Refuses with 409 while somebody has it, and with 503 when that cannot be
 * found out.
 *
 * @param keyOf names what a request locks.
 */
export function withResourceLock<Api extends LockApi, Request, Response extends ExpressResponse>(
  api: Api,
  keyOf: (request: Request) => string,
  handler: (request: Request, response: Response, lock: LockOf<Api>) => unknown,
  options: ResourceLockOptions = {}
): (request: Request, response: Response) => Promise<void> {
  return async (request, response) => {
    const lock = await lockFor(api, keyOf(request), options)
    if (isRefusal(lock)) return refuse(lock, response)
    try {
      await handler(request, response, lock)
      await ended(response)
    } finally {
      await letGo(lock, options)
    }
  }
}

function pass(refusal: Refusal | undefined, response: ExpressResponse, next: Next): void {
  if (refusal === undefined) next()
  else refuse(refusal, response)
}

function refuse({ status, body }: Refusal, response: ExpressResponse): void {
  response.status(status).json(body)
}
