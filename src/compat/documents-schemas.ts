import { Type } from '@sinclair/typebox'
import { orNull } from '../http/schemas/common.js'
import { DOCUMENT_TTL_SECONDS } from './document-locks.js'
import { COMPAT_TAGS } from './names.js'
import { body, faultsOf, IdSchema, ttlSchema } from './schemas.js'

const tags = [COMPAT_TAGS.documents.name]
const faults = faultsOf('DocumentRefusal', { success: Type.Literal(false) }, { success: false })
const REQUIRED = 'docId and userId are required'

const DocId = IdSchema('The document; with `doc-lock:` before it, it is the name of the resource that `/locks/all-locked` shows.', 'quote-123')
const UserId = IdSchema('Who edits it: 1 to 255 characters of Unicode in NFC, no control characters.', 'user-456')

const infoFields = {
  userId: Type.String(),
  timestamp: Type.Integer({ description: 'When the user last acquired or extended the lock: milliseconds since 1970.' }),
  username: Type.Optional(Type.String())
}
const LockInfo = Type.Object(infoFields, { title: 'DocumentLockInfo' })
const exampleInfo = { userId: 'user-456', timestamp: 1703123456789, username: 'john.doe' }

const Yes = Type.Literal(true)
const No = Type.Literal(false)
const done = (description: string, message: string) => body(description, { success: Yes, message: Type.String() }, { success: true, message }, 'DocumentReleased')
const locked = (description: string, message: string) =>
  body(description, { success: Yes, message: Type.String(), lockInfo: LockInfo }, { success: true, message, lockInfo: exampleInfo }, 'DocumentLocked')

export function documentSchemas(maxTtlSeconds: number) {
  const Ttl = Type.Optional(ttlSchema(DOCUMENT_TTL_SECONDS, maxTtlSeconds))
  const LockedBy = Type.String({ description: 'Who holds it.' })
  return {
    acquire: {
      operationId: 'acquireDocumentLock',
      tags,
      summary: 'Lock a document, or renew the lock on it',
      description: 'For the user who holds it, a new timestamp and a new end, and the old username where none is given.',
      body: body(
        'Who wants it, and for how long.',
        {
          docId: DocId,
          userId: UserId,
          ttl: Ttl,
          username: Type.Optional(Type.String({ maxLength: 255, description: 'A name to show to others.', examples: ['john.doe'] }))
        },
        { docId: 'quote-123', userId: 'user-456', ttl: 300, username: 'john.doe' }
      ),
      response: {
        200: locked('The user has it.', 'Lock acquired successfully'),
        409: body(
          'Another user has it; without `lockInfo` it is kept for `lockedBy`, who waits for it in line.',
          { success: No, error: Type.String(), lockedBy: LockedBy, lockInfo: Type.Optional(LockInfo) },
          { success: false, error: 'Document is locked by another user', lockedBy: 'user-456', lockInfo: exampleInfo }
        ),
        ...faults.withBody(REQUIRED)
      }
    },

    release: {
      operationId: 'releaseDocumentLock',
      tags,
      summary: 'Unlock a document',
      body: body('Who holds it.', { docId: DocId, userId: UserId }, { docId: 'quote-123', userId: 'user-456' }),
      response: {
        200: done('It is free, whether or not it was before.', 'Lock released successfully'),
        ...faults.withBody(REQUIRED),
        403: body(
          'Another user has it; or, without `lockedBy`, the API key does not allow the call.',
          { success: No, error: Type.String(), lockedBy: Type.Optional(LockedBy) },
          { success: false, error: 'You do not own this lock', lockedBy: 'user-789' }
        )
      }
    },

    extend: {
      operationId: 'extendDocumentLock',
      tags,
      summary: 'Extend the lock on a document',
      description: 'The heartbeat of an editor: a new timestamp and a new end. An ended lock never comes back.',
      body: body('Who holds it, and for how much longer.', { docId: DocId, userId: UserId, ttl: Ttl }, { docId: 'quote-123', userId: 'user-456', ttl: 300 }),
      response: {
        200: locked('The user still has it.', 'Lock extended successfully'),
        ...faults.withBody(REQUIRED),
        400: body(
          'A fault of form; or nobody has it; or, with `lockedBy`, another user has.',
          { success: No, error: Type.String(), lockedBy: Type.Optional(LockedBy) },
          { success: false, error: 'You do not own this lock', lockedBy: 'user-789' }
        )
      }
    },

    forceRelease: {
      operationId: 'forceReleaseDocumentLock',
      tags,
      summary: 'Take a document away from whoever has it',
      body: body(
        'Which, and who takes it away, for the history.',
        { docId: DocId, adminUserId: IdSchema('The administrator.', 'admin-789') },
        { docId: 'quote-123', adminUserId: 'admin-789' }
      ),
      response: { 200: done('It is free, whether or not it was before.', 'Lock force-released successfully'), ...faults.withBody('docId and adminUserId are required') }
    },

    status: {
      operationId: 'getDocumentLock',
      tags,
      summary: 'Check the lock on a document',
      params: Type.Object({ docId: Type.String({ description: 'The document.', examples: ['quote-123'] }) }),
      response: {
        200: body(
          'Whether it is locked, and by whom.',
          { success: Yes, isLocked: Type.Boolean(), lockInfo: orNull<object>('object', { properties: infoFields, required: ['userId', 'timestamp'] }) },
          { success: true, isLocked: true, lockInfo: exampleInfo }
        ),
        ...faults.withId('docId should have no control characters')
      }
    },

    all: {
      operationId: 'listDocumentLocks',
      tags,
      summary: 'List all locked documents',
      response: {
        200: body(
          'All of them, sorted by their ids.',
          { success: Yes, locks: Type.Array(Type.Object({ docId: Type.String(), lockInfo: LockInfo })) },
          { success: true, locks: [{ docId: 'quote-123', lockInfo: exampleInfo }] }
        ),
        ...faults.always
      }
    },

    clearAll: {
      operationId: 'clearDocumentLocks',
      tags,
      summary: 'Take all documents away from whoever has them',
      description: 'Document locks only; whatever else is locked stays so.',
      response: { 200: done('None is locked any longer.', 'All document locks cleared'), ...faults.withEmptyBody }
    }
  }
}
