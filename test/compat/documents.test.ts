import { onEachDatabase } from '../support/app.js'
import { allLocked, answersTo } from '../support/openapi.js'
import { START } from '../../scripts/database-templates.js'

const BOTH = { docId: 'quote-123', userId: 'user-456' }
const OTHER = { docId: 'quote-123', userId: 'user-789' }
const FREE = { success: true, isLocked: false, lockInfo: null }
const RELEASED = { success: true, message: 'Lock released successfully' }
const FORCED = { success: true, message: 'Lock force-released successfully' }
const info = (at: number, username?: string, userId = 'user-456') => ({ userId, timestamp: START + at, ...(username === undefined ? {} : { username }) })
const acquired = (lockInfo: object) => ({ success: true, message: 'Lock acquired successfully', lockInfo })
const extended = (lockInfo: object) => ({ success: true, message: 'Lock extended successfully', lockInfo })
const locked = (lockInfo: { readonly userId: string }) => ({ success: false, error: 'Document is locked by another user', lockedBy: lockInfo.userId, lockInfo })
const notYours = { success: false, error: 'You do not own this lock', lockedBy: 'user-456' }

onEachDatabase('editing a document, from its lock to its release', async (t, api) => {
  await answersTo(t, api, [
    ['GET /api/lock/status/quote-123', null, 200, FREE],
    ['POST /api/lock/acquire', { ...BOTH, ttl: 300, username: 'john.doe' }, 200, acquired(info(0, 'john.doe'))],
    ['GET /api/lock/status/quote-123', null, 200, { success: true, isLocked: true, lockInfo: info(0, 'john.doe') }],
    ['POST /api/lock/acquire', OTHER, 409, locked(info(0, 'john.doe'))]
  ])
  t.strictSame(await allLocked(api), { 'doc-lock:quote-123': 'user-456' })
  await api.advance(1000)
  await answersTo(t, api, [
    ['POST /api/lock/acquire', BOTH, 200, acquired(info(1000, 'john.doe'))],
    ['POST /api/lock/extend', { ...BOTH, ttl: '300' }, 200, extended(info(1000, 'john.doe'))],
    ['POST /api/lock/extend', OTHER, 400, notYours],
    ['POST /api/lock/release', OTHER, 403, notYours],
    ['POST /api/lock/release', BOTH, 200, RELEASED],
    ['POST /api/lock/release', BOTH, 200, RELEASED],
    ['POST /api/lock/extend', BOTH, 400, { success: false, error: 'No lock exists for this document' }],
    ['GET /api/lock/status/quote-123', null, 200, FREE],
    ['POST /api/lock/acquire', { docId: 123, userId: 7, username: '' }, 200, acquired(info(1000, undefined, '7'))],
    ['GET /api/lock/status/123', null, 200, { success: true, isLocked: true, lockInfo: info(1000, undefined, '7') }]
  ])
})

onEachDatabase('a document is free after five minutes without a sign of its editor', async (t, api) => {
  await answersTo(t, api, [['POST /api/lock/acquire', BOTH, 200, acquired(info(0))]])
  await api.advance(299_999)
  await answersTo(t, api, [['POST /api/lock/extend', { ...BOTH, ttl: 10 }, 200, extended(info(299_999))]])
  await api.advance(9999)
  await answersTo(t, api, [['POST /api/lock/acquire', OTHER, 409, locked(info(299_999))]])
  await api.advance(1)
  await answersTo(t, api, [
    ['POST /api/lock/extend', BOTH, 400, { success: false, error: 'No lock exists for this document' }],
    ['POST /api/lock/acquire', OTHER, 200, acquired(info(309_999, undefined, 'user-789'))],
    ['POST /api/lock/acquire', BOTH, 409, locked(info(309_999, undefined, 'user-789'))]
  ])
})

onEachDatabase('an administrator sees all documents, and takes them away', async (t, api) => {
  await answersTo(t, api, [
    ['GET /api/lock/all', null, 200, { success: true, locks: [] }],
    ['POST /api/lock/force-release', { docId: 'quote-123', adminUserId: 'admin-789' }, 200, FORCED],
    ['POST /api/lock/acquire', { docId: 'b/ü?', userId: 'u', username: 'U' }, 200, acquired(info(0, 'U', 'u'))],
    ['POST /api/lock/acquire', BOTH, 200, acquired(info(0))],
    ['GET /api/lock/status/b%2F%C3%BC%3F', null, 200, { success: true, isLocked: true, lockInfo: info(0, 'U', 'u') }],
    [
      'GET /api/lock/all',
      null,
      200,
      { success: true, locks: [{ docId: 'b/ü?', lockInfo: info(0, 'U', 'u') }, { docId: 'quote-123', lockInfo: info(0) }] }
    ],
    ['POST /api/lock/force-release', { docId: 'quote-123', adminUserId: 'admin-789' }, 200, FORCED],
    ['GET /api/lock/status/quote-123', null, 200, FREE],
    ['POST /api/lock/acquire', OTHER, 200, acquired(info(0, undefined, 'user-789'))]
  ])
  t.match(await api.get('/locks/history', { resource_name: 'doc-lock:quote-123' }), {
    body: { data: { events: [{}, { event: 'force_released', process_id: 'user-456', reason: 'force-released by admin-789' }] } }
  })
  await api.post('/locks/request', { resource_name: 'another lock', process_id: 'p' })
  await answersTo(t, api, [
    ['POST /api/lock/clear-all', null, 200, { success: true, message: 'All document locks cleared' }],
    ['POST /api/lock/clear-all', {}, 200, { success: true, message: 'All document locks cleared' }],
    ['GET /api/lock/all', null, 200, { success: true, locks: [] }]
  ])
  t.strictSame(await allLocked(api), { 'another lock': 'p' }, 'whatever is no document stays locked')
})

onEachDatabase('of twenty users who race for a document one wins', async (t, api) => {
  const users = Array.from({ length: 20 }, (_, index) => `u${index}`)
  const answers = await Promise.all(users.map((userId) => api.post('/api/lock/acquire', { docId: 'd', userId })))
  const winners = users.filter((_, index) => answers[index]?.status === 200)
  t.equal(winners.length, 1)
  for (const { status, body } of answers) if (status !== 200) t.match({ status, body }, { status: 409, body: { success: false, lockedBy: winners[0] } })
  t.strictSame(await allLocked(api), { 'doc-lock:d': winners[0] })
})
