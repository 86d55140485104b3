import type { LockApi } from '../client/api.js'
import { DocumentGuard, isRefusal, RequestLock, type DocumentGuardOptions, type GuardedDocuments, type GuardedRequest, type LockOf, type RawResponse, type Refusal, type ResourceLockOptions } from './guards.js'

/** The part of Express's response that the guards need. */
export interface ExpressResponse extends RawResponse {
  status(code: number): { json(body: unknown): unknown }
}

type Next = (error?: unknown) => void

/** A middleware of Express 4 or 5, which hands what fails to `next`. */
export type ExpressGuard = (request: GuardedRequest, response: ExpressResponse, next: Next) => Promise<void>

/** The guards of routes that edit documents, for Express 4 and 5. `request.user` has to be set before them. */
export function documentGuards(documents: GuardedDocuments, options: DocumentGuardOptions = {}) {
  return {
    /**
     * Locks the document whose id is that route parameter for `request.user`. Refuses with 409 `{error, lockedBy}` while
     * another user has it, with 401 where nobody is signed in, and with 503 when that cannot be found out.
     */
    acquireDocumentLock: (param: string): ExpressGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return (request, response, next) => pass(() => guard.acquire(request, response), response, next)
    },

    /**
     * Releases the document after the answer was sent with a 2xx; stands before the handler that answers. With
     * `requireLock`, refuses with 409 a user who does not hold it.
     */
    releaseDocumentLock: (param: string): ExpressGuard => {
      const guard = new DocumentGuard(documents, param, options)
      return (request, response, next) => pass(() => guard.release(request, response), response, next)
    }
  }
}

/**
 * Wraps a handler of Express 4 or 5 so that it runs while it has the lock, which is released when the handler has settled and
 * its answer was sent, or the client has gone. Refuses with 409 while somebody has it, and with 503 when that cannot be found
 * out. What the handler throws goes to `next`.
 *
 * @param keyOf names what a request locks.
 */
export function withResourceLock<Api extends LockApi, Request, Response extends ExpressResponse>(
  api: Api,
  keyOf: (request: Request) => string,
  handler: (request: Request, response: Response, lock: LockOf<Api>) => unknown,
  options: ResourceLockOptions = {}
): (request: Request, response: Response, next: Next) => Promise<void> {
  return async (request, response, next) => {
    try {
      const taken = await RequestLock.take(api, keyOf(request), options)
      if (isRefusal(taken)) return refuse(taken, response)
      try {
        await handler(request, response, taken.lock)
        taken.releaseAfter(response)
      } catch (error) {
        taken.release()
        throw error
      }
    } catch (error) {
      next(error)
    }
  }
}

async function pass(guard: () => Promise<Refusal | undefined>, response: ExpressResponse, next: Next): Promise<void> {
  let refusal: Refusal | undefined
  try {
    refusal = await guard()
  } catch (error) {
    return next(error)
  }
  if (refusal === undefined) next()
  else refuse(refusal, response)
}

function refuse({ status, body }: Refusal, response: ExpressResponse): void {
  response.status(status).json(body)
}
