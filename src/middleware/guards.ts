import type { Sharing } from '../client/answers.js'
import type { Lock, LockApi } from '../client/api.js'
import { LockRequestError, LockServiceUnavailableError } from '../client/errors.js'
import { HttpLocks } from '../client/http-locks.js'
import type { DocumentLockInfo, DocumentLocks } from '../compat/document-locks.js'
import { LockError } from '../locks/errors.js'

// What the guards do, in the terms of neither framework.

/** The part of Node's `ServerResponse` that the guards need; Express hands it out as it is, Fastify as `reply.raw`. */
export interface RawResponse {
  readonly statusCode: number
  readonly writableFinished: boolean
  readonly destroyed: boolean
  once(event: 'close' | 'finish', listener: () => void): unknown
}

/** How a request is refused. */
export interface Refusal {
  readonly status: number
  readonly body: { readonly error: string; readonly lockedBy?: string }
}

/** What the guards need of document locks: {@link DocumentLocks} has it. */
export type GuardedDocuments = Pick<DocumentLocks, 'acquireLock' | 'extendLock' | 'releaseLock' | 'getLockInfo'>

interface FaultOptions {
  /** Told of releases that failed after the answer was sent, and of renewals; such a lock ends with its lease. */
  readonly onFault?: (error: unknown) => void
}

export interface DocumentGuardOptions extends FaultOptions {
  /** How long a document stays locked unless it is extended; 300 if left out. */
  readonly ttlSeconds?: number
  /**
   * Whether `releaseDocumentLock` refuses users who do not hold the document, with 409; false if left out. The lock of the
   * user who holds it is extended, so that it lasts while the handler works.
   */
  readonly requireLock?: boolean
}

export interface ResourceLockOptions extends FaultOptions, Sharing {
  /**
   * The lease, greater than 0; 30 if left out. It is renewed while the handler works, except with a back end whose locks
   * cannot `renew`: there it has to outlast the handler.
   */
  readonly timeoutSeconds?: number
}

/** What both frameworks say of a request. */
export interface GuardedRequest {
  readonly params: unknown
  /** The signed-in user, by an `id` and, where there is one, a `username`. */
  readonly user?: unknown
}

interface User {
  readonly id: string
  readonly username: string | undefined
}

const UNKNOWN_USER: Refusal = { status: 401, body: { error: 'Nobody is signed in' } }

/** The guards of documents. */
export class DocumentGuard {
  readonly #documents: GuardedDocuments
  readonly #param: string
  readonly #options: DocumentGuardOptions

  /** @param param the name of the route's parameter that holds the document's id. */
  constructor(documents: GuardedDocuments, param: string, options: DocumentGuardOptions) {
    this.#documents = documents
    this.#param = param
    this.#options = options
  }

  /**
   * Takes the document for the user, or renews the user's lock; undefined lets the request pass. A client that went away
   * before it was answered edits nothing: its document is released, unless the same user has asked
   * again by then.
   */
  async acquire(request: GuardedRequest, response: RawResponse): Promise<Refusal | undefined> {
    const user = userOf(request)
    if (user === undefined) return UNKNOWN_USER
    const docId = this.#docIdOf(request)
    try {
      const outcome = await this.#documents.acquireLock(docId, user.id, this.#options.ttlSeconds, user.username)
      if (!outcome.success) return { status: 409, body: { error: outcome.error, lockedBy: outcome.lockedBy } }
      if (!outcome.renewed) {
        onAnswered(response, (reached) => {
          if (!reached) this.#report(this.#releaseUnused(docId, outcome.lockInfo))
        })
      }
      return undefined
    } catch (error) {
      return refusalFor(error)
    }
  }

  /** Releases the document when the answer was sent with a 2xx, and keeps it in every other case. */
  async release(request: GuardedRequest, response: RawResponse): Promise<Refusal | undefined> {
    const user = userOf(request)
    if (user === undefined) return UNKNOWN_USER
    const docId = this.#docIdOf(request)
    const refusal = this.#options.requireLock === true ? await this.#keep(docId, user) : undefined
    if (refusal !== undefined) return refusal
    onAnswered(response, (reached) => {
      const done = reached && response.statusCode >= 200 && response.statusCode < 300
      if (done) this.#report(this.#documents.releaseLock(docId, user.id))
    })
    return undefined
  }

  /** Extends the user's lock; a user without one is refused. */
  async #keep(docId: string, user: User): Promise<Refusal | undefined> {
    try {
      const outcome = await this.#documents.extendLock(docId, user.id, this.#options.ttlSeconds)
      if (outcome.success) return undefined
      const { error, lockedBy } = outcome
      return { status: 409, body: lockedBy === undefined ? { error } : { error, lockedBy } }
    } catch (error) {
      return refusalFor(error)
    }
  }

  async #releaseUnused(docId: string, { userId, timestamp }: DocumentLockInfo): Promise<void> {
    // Every renewal has a timestamp of its own.
    const now = await this.#documents.getLockInfo(docId)
    if (now?.userId === userId && now.timestamp === timestamp) await this.#documents.releaseLock(docId, userId)
  }

  #report(releasing: Promise<unknown>): void {
    releasing.catch((error: unknown) => this.#options.onFault?.(error))
  }

  #docIdOf({ params }: GuardedRequest): string {
    const docId = (params as Readonly<Record<string, unknown>> | undefined)?.[this.#param]
    if (typeof docId !== 'string') throw new TypeError(`The route has no parameter '${this.#param}'`)
    return docId
  }
}

function userOf({ user }: GuardedRequest): User | undefined {
  if (typeof user !== 'object' || user === null || !('id' in user)) return undefined
  const { id } = user
  if ((typeof id !== 'string' && typeof id !== 'number') || id === '') return undefined
  return { id: String(id), username: 'username' in user && typeof user.username === 'string' ? user.username : undefined }
}

/** The lock that a back end hands out: of the client a `HeldLock`, with its `signal` and its token. */
export type LockOf<Api extends LockApi> = NonNullable<Awaited<ReturnType<Api['tryAcquire']>>>

const TIMEOUT_SECONDS = 30
/** A lease is renewed when this share of it is over. */
const RENEW_AFTER = 1 / 3

/** The lock of one request, renewed until it is released. */
export class RequestLock<Api extends LockApi> {
  readonly lock: LockOf<Api>
  readonly #options: ResourceLockOptions
  #renewing: NodeJS.Timeout | undefined

  private constructor(lock: LockOf<Api>, options: ResourceLockOptions) {
    this.lock = lock
    this.#options = options
  }

  /** Takes the lock of a request, or says how the request is refused. */
  static async take<Api extends LockApi>(api: Api, key: string, options: ResourceLockOptions): Promise<RequestLock<Api> | Refusal> {
    const { timeoutSeconds = TIMEOUT_SECONDS } = options
    // The client renews by itself, and says by the lock's signal when it is lost.
    const renewsItself = api instanceof HttpLocks
    try {
      const sharing = { mode: options.mode, limit: options.limit, permits: options.permits }
      const lock = await (renewsItself ? api.tryAcquire(key, { ...sharing, ttlSeconds: timeoutSeconds }) : takeShare(api, key, timeoutSeconds, sharing))
      if (lock === undefined) return { status: 409, body: { error: `Resource '${key}' is locked` } }
      const taken = new RequestLock<Api>(lock as LockOf<Api>, options)
      if (!renewsItself) taken.#renew(lock, timeoutSeconds)
      return taken
    } catch (error) {
      return refusalFor(error)
    }
  }

  /** Releases the lock as soon as the request was answered or its client has gone. The answer does not wait for it. */
  releaseAfter(response: RawResponse): void {
    onAnswered(response, () => this.release())
  }

  /** Releases the lock, in the background: the handler has done its work, and its answer stands. */
  release(): void {
    clearInterval(this.#renewing)
    this.lock.release().catch((error: unknown) => this.#options.onFault?.(error))
  }

  #renew(lock: Lock, timeoutSeconds: number): void {
    if (lock.renew === undefined) return
    let under = false
    const renew = async (): Promise<void> => {
      if (under) return
      under = true
      await lock.renew?.(timeoutSeconds).catch((error: unknown) => this.#options.onFault?.(error))
      under = false
    }
    this.#renewing = setInterval(() => void renew(), timeoutSeconds * 1000 * RENEW_AFTER).unref()
  }
}

function takeShare(api: LockApi, key: string, timeoutSeconds: number, sharing: Sharing): Promise<Lock | undefined> {
  if (sharing.mode !== 'shared' && sharing.limit === undefined) return api.tryAcquire(key, timeoutSeconds)
  if (api.tryAcquireShare === undefined) throw new TypeError('This back end has exclusive locks only')
  return api.tryAcquireShare(key, timeoutSeconds, sharing)
}

export function isRefusal(outcome: object): outcome is Refusal {
  return 'status' in outcome && 'body' in outcome
}

/**
 * Calls back once the request was answered, with whether the whole answer was handed to the network: it was not when the
 * client had gone by then.
 */
function onAnswered(response: RawResponse, answered: (reached: boolean) => void): void {
  let told = false
  const tell = (): void => {
    if (told) return
    told = true
    answered(response.writableFinished)
  }
  if (response.writableFinished || response.destroyed) return tell()
  response.once('finish', tell)
  response.once('close', tell)
}

/**
 * What a request is told when asking for its lock failed.
 *
 * @throws an error without a status when that is no fault of the request and says nothing about the service: a bug, or a key
 * that the service refuses, which is no concern of the client.
 */
function refusalFor(error: unknown): Refusal {
  // A name from the request that no lock can have.
  if (error instanceof RangeError) return { status: 400, body: { error: error.message } }
  if (error instanceof LockServiceUnavailableError || error instanceof LockError) return { status: 503, body: { error: 'The lock service is not available' } }
  if (!(error instanceof LockRequestError)) throw error
  if (error.code === 'INVALID_REQUEST') return { status: 400, body: { error: 'No lock can have such a name' } }
  throw new Error(`The lock service refused the guard: ${error.code}`, { cause: error })
}
