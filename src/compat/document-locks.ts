import { processId, resourceName, ttlFromSeconds, type Grant, type Metadata, type ProcessId, type ResourceName } from '../locks/lock.js'
import { LIST_LIMIT, placeAfter, type ListPage, type ListPlace } from '../locks/store.js'
import type { Locks } from '../locks/scoped-locks.js'

/** How long a document stays locked when nobody says otherwise. */
export const DOCUMENT_TTL_SECONDS = 300

/** How often a call is decided anew when the user's own lock stood in its way; then it is one that was taken with another API key. */
const MOST_TRIES = 3

/** What stands before the id of a document in the name of its resource. */
export const DOCUMENT_PREFIX = 'doc-lock:'

export interface DocumentLockInfo {
  readonly userId: string
  /** When the user last acquired or extended the lock: milliseconds since 1970 by the database's clock. */
  readonly timestamp: number
  readonly username?: string
}

export interface LockedDocument {
  readonly docId: string
  readonly lockInfo: DocumentLockInfo
}

interface Refused {
  readonly success: false
  readonly error: string
}

export type DocumentAcquired =
  /** `renewed`: the user had it already. */
  | { readonly success: true; readonly lockInfo: DocumentLockInfo; readonly renewed: boolean }
  /** No `lockInfo` where the document is free, but kept for `lockedBy`, who waits for it in line. */
  | (Refused & { readonly lockedBy: string; readonly lockInfo?: DocumentLockInfo })

export type DocumentExtended =
  | { readonly success: true; readonly lockInfo: DocumentLockInfo }
  /** Without `lockedBy`, nobody holds the document. */
  | (Refused & { readonly lockedBy?: string })

export type DocumentReleased = { readonly success: true } | (Refused & { readonly lockedBy: string })

/**
 * Locks on documents, each held by a user. Every call is decided by one command in the database: of users who race for a
 * document one wins, and a user who lost the document meanwhile is never let in again by a late call.
 *
 * Ids are texts of at least one character; with `doc-lock:` before it, that of a document must be a name of a resource.
 * Every method throws a RangeError for ids that break these rules, and a LockError when the database cannot answer.
 */
export class DocumentLocks {
  readonly #locks: Locks

  constructor(locks: Locks) {
    this.#locks = locks
  }

  /**
   * Takes the document, or renews the lock of the user who has it: with a new timestamp, a new end, and the old username
   * where none is given.
   */
  async acquireLock(docId: string, userId: string, ttlSeconds = DOCUMENT_TTL_SECONDS, username?: string): Promise<DocumentAcquired> {
    const mine = { resourceName: documentName(docId), processId: processId(userId) }
    const ttlMs = ttlFromSeconds(ttlSeconds)
    const metadata: Metadata | null = username === undefined ? null : { username }
    for (let tries = 1; ; tries += 1) {
      const renewed = await this.#locks.renew({ ...mine, ttlMs, metadata, restartLease: true })
      if (renewed.kind === 'renewed') return { success: true, lockInfo: infoOf(renewed.grant), renewed: true }
      const outcome = await this.#locks.request({ resourceNames: [mine.resourceName], processId: mine.processId, ttlMs, metadata })
      if (outcome.kind === 'granted') for (const grant of outcome.grants) return { success: true, lockInfo: infoOf(grant), renewed: false }
      const [conflict] = outcome.kind === 'held' ? outcome.conflicts : []
      if (conflict?.lockId === 0) return lockedBy(conflict.processId)
      const { grant } = await this.#locks.inspect(mine.resourceName)
      if (grant !== null && (grant.processId !== mine.processId || tries >= MOST_TRIES)) return lockedBy(grant.processId, infoOf(grant))
      // What stood in the way has ended since, or it was another call of the same user: the next try decides.
    }
  }

  /** Lets the document go. A document that nobody holds counts as released. */
  async releaseLock(docId: string, userId: string): Promise<DocumentReleased> {
    const mine = { resourceName: documentName(docId), processId: processId(userId) }
    for (let tries = 1; ; tries += 1) {
      const outcome = await this.#locks.release(mine)
      if (outcome.kind === 'released' || outcome.reason !== 'held_by_other') return { success: true }
      const holder = await this.#holder(mine.resourceName)
      if (holder === undefined) return { success: true }
      if (holder !== mine.processId || tries >= MOST_TRIES) return notYours(holder)
    }
  }

  /** Takes the document away from its holder, if there is one. `by` names the administrator, for the history. */
  async forceReleaseLock(docId: string, by: string): Promise<{ readonly success: true }> {
    await this.#locks.forceRelease(documentName(docId), `force-released by ${by}`, undefined)
    return { success: true }
  }

  /** The heartbeat of an editor: a new timestamp and a new end for a lock that the user still holds. */
  async extendLock(docId: string, userId: string, ttlSeconds = DOCUMENT_TTL_SECONDS): Promise<DocumentExtended> {
    const mine = { resourceName: documentName(docId), processId: processId(userId) }
    for (let tries = 1; ; tries += 1) {
      const outcome = await this.#locks.renew({ ...mine, ttlMs: ttlFromSeconds(ttlSeconds), restartLease: true })
      if (outcome.kind === 'renewed') return { success: true, lockInfo: infoOf(outcome.grant) }
      const holder = outcome.reason === 'held_by_other' ? await this.#holder(mine.resourceName) : undefined
      if (holder === undefined) return { success: false, error: 'No lock exists for this document' }
      if (holder !== mine.processId || tries >= MOST_TRIES) return notYours(holder)
    }
  }

  async getLockInfo(docId: string): Promise<DocumentLockInfo | null> {
    const { grant } = await this.#locks.inspect(documentName(docId))
    return grant === null ? null : infoOf(grant)
  }

  async isLocked(docId: string): Promise<boolean> {
    return (await this.getLockInfo(docId)) !== null
  }

  /** Every document that is locked, in bytewise order of the ids. */
  async getAllLocks(): Promise<readonly LockedDocument[]> {
    const all: LockedDocument[] = []
    for (let after: ListPlace | null = null; ; ) {
      const { grants, more }: ListPage = await this.#locks.reads.list({ prefix: DOCUMENT_PREFIX, processId: null, after, limit: LIST_LIMIT })
      for (const grant of grants) all.push({ docId: grant.resourceName.slice(DOCUMENT_PREFIX.length), lockInfo: infoOf(grant) })
      after = placeAfter(grants)
      if (!more) return all
    }
  }

  /** Takes every document away from its holder, and nothing but documents; resolves to their number. */
  clearAllLocks(): Promise<number> {
    return this.#locks.forceReleaseAll(DOCUMENT_PREFIX, 'all document locks were cleared')
  }

  async #holder(resourceName: ResourceName): Promise<ProcessId | undefined> {
    return (await this.#locks.inspect(resourceName)).grant?.processId
  }
}

/** @throws RangeError when there is no id, or the name that it makes breaks the rules of a resource's name. */
function documentName(docId: string): ResourceName {
  if (docId === '') throw new RangeError('A document id should have at least 1 character.')
  return resourceName(DOCUMENT_PREFIX + docId)
}

function infoOf({ processId, lockedAt, metadata }: Grant): DocumentLockInfo {
  const username = metadata?.['username']
  return { userId: processId, timestamp: lockedAt, ...(typeof username === 'string' ? { username } : {}) }
}

function lockedBy(userId: string, lockInfo?: DocumentLockInfo): DocumentAcquired {
  const refused = { success: false, error: 'Document is locked by another user', lockedBy: userId } as const
  return lockInfo === undefined ? refused : { ...refused, lockInfo }
}

function notYours(userId: string): Refused & { readonly lockedBy: string } {
  return { success: false, error: 'You do not own this lock', lockedBy: userId }
}
