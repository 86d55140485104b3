import type { DocumentLockInfo, DocumentLocks } from '../compat/document-locks.js'
import { refusalFor, type Refusal } from './faults.js'
import { onAnswered, type RawResponse } from './response.js'

/** What the guards need of document locks: {@link DocumentLocks} has it. */
export type GuardedDocuments = Pick<DocumentLocks, 'acquireLock' | 'releaseLock' | 'getLockInfo'>

export interface DocumentGuardOptions {
  /** How long a document stays locked unless it is extended; 300 if left out. */
  readonly ttlSeconds?: number
  /** Told of releases that failed after the answer was sent; such a lock ends with its lease. */
  readonly onFault?: (error: unknown) => void
}

/** What both frameworks say of a request. */
export interface GuardedRequest {
  readonly params: unknown
  /** Whoever is signed in, by an `id` and, where there is one, a `username`. */
  readonly user?: unknown
}

interface User {
  readonly id: string
  readonly username: string | undefined
}

/** What the guards do, in the terms of neither framework. */
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
   * before it was answered edits nothing: what it was given in vain is let go when the handler is done, unless the same
   * user has asked again by then.
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
          if (!reached) this.#report(this.#giveBack(docId, outcome.lockInfo))
        })
      }
      return undefined
    } catch (error) {
      return refusalFor(error)
    }
  }

  /** Lets the document go when the answer was sent with a 2xx, and keeps it in every other case. */
  releaseAfter(request: GuardedRequest, response: RawResponse): Refusal | undefined {
    const user = userOf(request)
    if (user === undefined) return UNKNOWN_USER
    const docId = this.#docIdOf(request)
    onAnswered(response, (reached) => {
      const done = reached && response.statusCode >= 200 && response.statusCode < 300
      if (done) this.#report(this.#documents.releaseLock(docId, user.id))
    })
    return undefined
  }

  async #giveBack(docId: string, { userId, timestamp }: DocumentLockInfo): Promise<void> {
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

const UNKNOWN_USER: Refusal = { status: 401, body: { error: 'Nobody is signed in' } }

function userOf({ user }: GuardedRequest): User | undefined {
  if (typeof user !== 'object' || user === null || !('id' in user)) return undefined
  const { id } = user
  if ((typeof id !== 'string' && typeof id !== 'number') || id === '') return undefined
  return { id: String(id), username: 'username' in user && typeof user.username === 'string' ? user.username : undefined }
}
