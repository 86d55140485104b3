import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import { DOCUMENT_PREFIX, DOCUMENT_TTL_SECONDS, DocumentLocks } from './document-locks.js'
import { documentSchemas } from './documents-schemas.js'
import { BadInputError, fieldsOf, holderOf, nameOf, requireFields, textOf, ttlSecondsOf } from './reading.js'
import { answerFaultsAs, type CompatOptions } from './scope.js'

export const DOCUMENT_FAULT = { success: false }

/** The calls of the Document Locking System. */
export const documents: FastifyPluginCallback<CompatOptions> = (app, { locksOf, maxTtlSeconds }, done) => {
  const schemas = documentSchemas(maxTtlSeconds)
  const documentsOf = ({ apiKey }: FastifyRequest): DocumentLocks => new DocumentLocks(locksOf(apiKey))
  const ttlOf = (ttl: unknown): number => ttlSecondsOf(ttl, DOCUMENT_TTL_SECONDS, maxTtlSeconds)
  answerFaultsAs(app, DOCUMENT_FAULT)

  app.post('/api/lock/acquire', { schema: schemas.acquire }, async (request, reply) => {
    const { docId, userId, ttl, username } = read(request.body)
    const outcome = await documentsOf(request).acquireLock(docId, userId, ttlOf(ttl), usernameOf(username))
    if (!outcome.success) return reply.code(409).send(outcome)
    return { success: true, message: 'Lock acquired successfully', lockInfo: outcome.lockInfo }
  })

  app.post('/api/lock/release', { schema: schemas.release }, async (request, reply) => {
    const { docId, userId } = read(request.body)
    const outcome = await documentsOf(request).releaseLock(docId, userId)
    return outcome.success ? { success: true, message: 'Lock released successfully' } : reply.code(403).send(outcome)
  })

  app.post('/api/lock/extend', { schema: schemas.extend }, async (request, reply) => {
    const { docId, userId, ttl } = read(request.body)
    const outcome = await documentsOf(request).extendLock(docId, userId, ttlOf(ttl))
    if (!outcome.success) return reply.code(400).send(outcome)
    return { success: true, message: 'Lock extended successfully', lockInfo: outcome.lockInfo }
  })

  app.post('/api/lock/force-release', { schema: schemas.forceRelease }, async (request) => {
    const fields = fieldsOf(request.body)
    requireFields(fields, 'docId', 'adminUserId')
    const docId = docIdOf(fields['docId'])
    const adminUserId = holderOf(fields['adminUserId'], 'adminUserId')
    await documentsOf(request).forceReleaseLock(docId, adminUserId)
    app.log.warn({ docId, adminUserId, reqId: request.id }, 'document lock force-released')
    return { success: true, message: 'Lock force-released successfully' }
  })

  app.get<{ Params: { docId: string } }>('/api/lock/status/:docId', { schema: schemas.status }, async (request) => {
    const lockInfo = await documentsOf(request).getLockInfo(docIdOf(request.params.docId))
    return { success: true, isLocked: lockInfo !== null, lockInfo }
  })

  app.get('/api/lock/all', { schema: schemas.all }, async (request) => ({ success: true, locks: await documentsOf(request).getAllLocks() }))

  app.post('/api/lock/clear-all', { schema: schemas.clearAll }, async (request) => {
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
