import { Type } from '@sinclair/typebox'
import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import { orNull } from '../http/schemas/common.js'
import {
  answerFaultsAs,
  BadInputError,
  body,
  type CompatOptions,
  faultsOf,
  fieldsOf,
  holderOf,
  IdSchema,
  nameOf,
  requireFields,
  textOf,
  ttlSchema,
  ttlSecondsOf
} from './common.js'
import { DOCUMENT_PREFIX, DOCUMENT_TTL_SECONDS, DocumentLocks } from './document-locks.js'

export const documentsTag = { name: 'Documents', description: 'Locks on documents, as the Document Locking System has them. Refusals are `{"success": false, "error": …}`.' }

const tags = [documentsTag.name]
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

const LockedBy = Type.String({ description: 'Who holds it.' })
const ttl = (maxTtlSeconds: number) => Type.Optional(ttlSchema(DOCUMENT_TTL_SECONDS, maxTtlSeconds))

const acquireSchema = (maxTtlSeconds: number) => ({
  operationId: 'acquireDocumentLock',
  tags,
  summary: 'Lock a document, or renew the lock on it',
  description: 'For the user who holds it, a new timestamp and a new end, and the old username where none is given.',
  body: body(
    'Who wants it, and for how long.',
    {
      docId: DocId,
      userId: UserId,
      ttl: ttl(maxTtlSeconds),
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
})

const releaseSchema = {
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
}

const extendSchema = (maxTtlSeconds: number) => ({
  operationId: 'extendDocumentLock',
  tags,
  summary: 'Extend the lock on a document',
  description: 'The heartbeat of an editor: a new timestamp and a new end. An ended lock never comes back.',
  body: body('Who holds it, and for how much longer.', { docId: DocId, userId: UserId, ttl: ttl(maxTtlSeconds) }, { docId: 'quote-123', userId: 'user-456', ttl: 300 }),
  response: {
    200: locked('The user still has it.', 'Lock extended successfully'),
    ...faults.withBody(REQUIRED),
    400: body(
      'A fault of form; or nobody has it; or, with `lockedBy`, another user has.',
      { success: No, error: Type.String(), lockedBy: Type.Optional(LockedBy) },
      { success: false, error: 'You do not own this lock', lockedBy: 'user-789' }
    )
  }
})

const forceReleaseSchema = {
  operationId: 'forceReleaseDocumentLock',
  tags,
  summary: 'Take a document away from its holder',
  body: body(
    'Which, and who takes it away, for the history.',
    { docId: DocId, adminUserId: IdSchema('The administrator.', 'admin-789') },
    { docId: 'quote-123', adminUserId: 'admin-789' }
  ),
  response: { 200: done('It is free, whether or not it was before.', 'Lock force-released successfully'), ...faults.withBody('docId and adminUserId are required') }
}

const statusSchema = {
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
}

const allSchema = {
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
}

const clearAllSchema = {
  operationId: 'clearDocumentLocks',
  tags,
  summary: 'Take all documents away from their holders',
  description: 'Document locks only; whatever else is locked stays so.',
  response: { 200: done('None is locked any longer.', 'All document locks cleared'), ...faults.withEmptyBody }
}

export const DOCUMENT_FAULT = { success: false }

/** The calls of the Document Locking System. */
export const documents: FastifyPluginCallback<CompatOptions> = (app, { locksOf, maxTtlSeconds }, done) => {
  const documentsOf = ({ apiKey }: FastifyRequest): DocumentLocks => new DocumentLocks(locksOf(apiKey))
  const ttlOf = (ttl: unknown): number => ttlSecondsOf(ttl, DOCUMENT_TTL_SECONDS, maxTtlSeconds)
  answerFaultsAs(app, DOCUMENT_FAULT)

  app.post('/api/lock/acquire', { config: { access: 'write' }, schema: acquireSchema(maxTtlSeconds) }, async (request, reply) => {
    const { docId, userId, ttl, username } = read(request.body)
    const outcome = await documentsOf(request).acquireLock(docId, userId, ttlOf(ttl), usernameOf(username))
    if (!outcome.success) return reply.code(409).send(outcome)
    return { success: true, message: 'Lock acquired successfully', lockInfo: outcome.lockInfo }
  })

  app.post('/api/lock/release', { config: { access: 'write' }, schema: releaseSchema }, async (request, reply) => {
    const { docId, userId } = read(request.body)
    const outcome = await documentsOf(request).releaseLock(docId, userId)
    return outcome.success ? { success: true, message: 'Lock released successfully' } : reply.code(403).send(outcome)
  })

  app.post('/api/lock/extend', { config: { access: 'write' }, schema: extendSchema(maxTtlSeconds) }, async (request, reply) => {
    const { docId, userId, ttl } = read(request.body)
    const outcome = await documentsOf(request).extendLock(docId, userId, ttlOf(ttl))
    if (!outcome.success) return reply.code(400).send(outcome)
    return { success: true, message: 'Lock extended successfully', lockInfo: outcome.lockInfo }
  })

  app.post('/api/lock/force-release', { config: { access: 'admin' }, schema: forceReleaseSchema }, async (request) => {
    const fields = fieldsOf(request.body)
    requireFields(fields, 'docId', 'adminUserId')
    const docId = docIdOf(fields['docId'])
    const adminUserId = holderOf(fields['adminUserId'], 'adminUserId')
    await documentsOf(request).forceReleaseLock(docId, adminUserId)
    app.log.warn({ docId, adminUserId, reqId: request.id }, 'document lock force-released')
    return { success: true, message: 'Lock force-released successfully' }
  })

  app.get<{ Params: { docId: string } }>('/api/lock/status/:docId', { config: { access: 'read' }, schema: statusSchema }, async (request) => {
    const lockInfo = await documentsOf(request).getLockInfo(docIdOf(request.params.docId))
    return { success: true, isLocked: lockInfo !== null, lockInfo }
  })

  app.get('/api/lock/all', { config: { access: 'admin' }, schema: allSchema }, async (request) => ({ success: true, locks: await documentsOf(request).getAllLocks() }))

  app.post('/api/lock/clear-all', { config: { access: 'admin' }, schema: clearAllSchema }, async (request) => {
    const total = await documentsOf(request).clearAllLocks()
    app.log.warn({ total, reqId: request.id }, 'document locks cleared')
    return { success: true, message: 'All document locks cleared' }
  })

  done()
}

function read(body: unknown) {
  const fields = fieldsOf(body)
  requireFields(fields, 'docId', 'userId')
  return {
    docId: docIdOf(fields['docId']),
    userId: holderOf(fields['userId'], 'userId'),
    ttl: fields['ttl'],
    username: fields['username']
  }
}

function docIdOf(value: unknown): string {
  const docId = textOf(value, 'docId')
  nameOf(DOCUMENT_PREFIX, docId, 'docId')
  return docId
}

/** None given is as good as an empty one or null. */
function usernameOf(value: unknown): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string') throw new BadInputError('username should be a string')
  return holderOf(value, 'username')
}
