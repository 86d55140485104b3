import t, { type Test } from 'tap'
import { DocumentLocks } from '../../src/compat/document-locks.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { acquire, enqueue, allEvents, release } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, type TestDatabase } from '../support/databases.js'
import { instances, onEachStore } from '../support/store.js'

type Body = (t: Test, documents: DocumentLocks, database: TestDatabase, store: SqlLockStore) => Promise<void>

const over = (store: SqlLockStore): DocumentLocks => new DocumentLocks(new LockService(store, { defaultTtlMs: null }))

for (const kind of DATABASES) {
  void t.test(`document locks for code on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)
    const onDocuments = (name: string, body: Body) =>
      onStore(name, (t, store, database) => body(t, over(store), database, store))

    await onDocuments('a user takes a document for five minutes, and others are told who has it', async (t, documents, database, store) => {
      const lockInfo = { userId: 'u', timestamp: START, username: 'Ü' }
      t.strictSame(await documents.acquireLock('d', 'u', undefined, 'Ü'), { success: true, lockInfo, renewed: false })
      await database.advance(299_999)
      const refused = { success: false, error: 'Document is locked by another user', lockedBy: 'u', lockInfo }
      t.strictSame(await documents.acquireLock('d', 'v'), refused)
      t.strictSame(await documents.getLockInfo('d'), lockInfo)
      t.equal(await documents.isLocked('d'), true)
      const { grants } = await store.reads.list({ prefix: '', processId: null, after: null, limit: 9 })
      t.match(grants, [{ resourceName: 'doc-lock:d', processId: 'u', metadata: { username: 'Ü' } }])
      await database.advance(1)
      t.equal(await documents.getLockInfo('d'), null)
      t.equal(await documents.isLocked('d'), false)
      t.match(await documents.acquireLock('d', 'v'), { success: true, lockInfo: { userId: 'v', timestamp: START + 300_000 } })
      t.match(await documents.acquireLock('d', 'u'), { success: false, lockedBy: 'v' }, 'a user who was late is not let in again')
    })

    await onDocuments('the same user renews: a new timestamp and end, the old username where none is given', async (t, documents, database) => {
      await documents.acquireLock('d', 'u', 10, 'old')
      await database.advance(9000)
      t.strictSame(await documents.acquireLock('d', 'u', 20), { success: true, lockInfo: { userId: 'u', timestamp: START + 9000, username: 'old' }, renewed: true })
      await database.advance(19_999)
      t.match(await documents.acquireLock('d', 'u', 1, 'new'), { success: true, lockInfo: { timestamp: START + 28_999, username: 'new' } })
      await database.advance(1000)
      t.equal(await documents.isLocked('d'), false)
      t.strictSame(await documents.acquireLock('d', 'u'), { success: true, lockInfo: { userId: 'u', timestamp: START + 29_999 }, renewed: false }, 'an ended lock leaves no name')
    })

    await onDocuments('a heartbeat extends the lock of its holder only', async (t, documents, database) => {
      t.strictSame(await documents.extendLock('d', 'u'), { success: false, error: 'No lock exists for this document' })
      await documents.acquireLock('d', 'u', 10, 'name')
      await database.advance(5000)
      t.strictSame(await documents.extendLock('d', 'u', 10), { success: true, lockInfo: { userId: 'u', timestamp: START + 5000, username: 'name' } })
      t.strictSame(await documents.extendLock('d', 'v'), { success: false, error: 'You do not own this lock', lockedBy: 'u' })
      await database.advance(9999)
      t.match(await documents.extendLock('d', 'u'), { success: true })
      await database.advance(299_999)
      t.equal(await documents.isLocked('d'), true, 'five minutes when nobody says otherwise')
      await database.advance(1)
      t.strictSame(await documents.extendLock('d', 'u'), { success: false, error: 'No lock exists for this document' })
    })

    await onDocuments('a document is released by its holder only, and a free one counts as released', async (t, documents) => {
      t.strictSame(await documents.releaseLock('d', 'u'), { success: true })
      await documents.acquireLock('d', 'u')
      t.strictSame(await documents.releaseLock('d', 'v'), { success: false, error: 'You do not own this lock', lockedBy: 'u' })
      t.equal(await documents.isLocked('d'), true)
      t.strictSame(await documents.releaseLock('d', 'u'), { success: true })
      t.equal(await documents.isLocked('d'), false)
      t.strictSame(await documents.releaseLock('d', 'u'), { success: true })
    })

    await onDocuments('an administrator takes one document away, or all, and nothing but documents', async (t, documents, _, store) => {
      for (const id of ['b', 'a', 'ä:/?']) await documents.acquireLock(id, `by ${id}`)
      await store.submit(acquire('doc-lockers', 'p'))
      t.strictSame(
        (await documents.getAllLocks()).map(({ docId, lockInfo }) => [docId, lockInfo.userId]),
        [['a', 'by a'], ['b', 'by b'], ['ä:/?', 'by ä:/?']]
      )
      t.strictSame(await documents.forceReleaseLock('a', 'admin'), { success: true })
      t.strictSame(await documents.forceReleaseLock('a', 'admin'), { success: true }, 'also when it was free')
      const { events } = await store.reads.history({ resourceName: 'doc-lock:a', processId: null, prefix: '', before: null, limit: 1 })
      t.match(events, [{ kind: 'force_released', reason: 'force-released by admin' }])
      t.equal(await documents.clearAllLocks(), 2)
      t.strictSame(await documents.getAllLocks(), [])
      t.match(await store.reads.list({ prefix: '', processId: null, after: null, limit: 9 }), { grants: [{ resourceName: 'doc-lockers' }] })
    })

    await onDocuments('ids that make no name are refused before anything is asked', async (t, documents) => {
      for (const docId of ['', 'a\n', '\0', 'e\u0301', '\ud800', 'x'.repeat(247)]) {
        await t.rejects(documents.acquireLock(docId, 'u'), RangeError, JSON.stringify(docId))
        await t.rejects(documents.getLockInfo(docId), RangeError)
      }
      for (const userId of ['', 'a\t', 'x'.repeat(256)]) await t.rejects(documents.releaseLock('d', userId), RangeError)
      t.match(await documents.acquireLock('x'.repeat(246), 'u'), { success: true }, 'as long as the name allows')
    })

    await onStore('a document that is kept for the first in line is refused', async (t, store) => {
      const documents = over(store)
      await store.submit(enqueue('doc-lock:d', 'waiter'))
      t.strictSame(await documents.acquireLock('d', 'u'), { success: false, error: 'Document is locked by another user', lockedBy: 'waiter' })
    })

    await onStore('of twenty users who race for a document one wins, again and again', async (t, store, database) => {
      await using both = await instances(kind, store, database)
      const users = Array.from({ length: 20 }, (_, index) => ({ userId: `u${index}`, documents: over(both.at(index)) }))
      for (let round = 0; round < 10; round += 1) {
        const answers = await Promise.all(users.map(({ documents, userId }) => documents.acquireLock('d', userId, 10, `name of ${userId}`)))
        const winners = users.filter((_, index) => answers[index]?.success)
        t.equal(winners.length, 1)
        const [{ userId: winner } = { userId: '' }] = winners
        const lockInfo = { userId: winner, timestamp: database.now(), username: `name of ${winner}` }
        const refused = { success: false, error: 'Document is locked by another user', lockedBy: winner, lockInfo }
        for (const answer of answers) t.strictSame(answer, answer.success ? { success: true, lockInfo, renewed: false } : refused)
        // Ended by its time in one round, by its holder in the next.
        if (round % 2 === 0) await database.advance(10_000)
        else await over(store).releaseLock('d', winner)
      }
    })

    await onStore('calls of one user that race all succeed, on one and the same grant', async (t, store, database) => {
      await using both = await instances(kind, store, database)
      const calls = Array.from({ length: 20 }, (_, index) => over(both.at(index)).acquireLock('d', 'u', 10, index === 0 ? 'name' : undefined))
      for (const answer of await Promise.all(calls)) t.match(answer, { success: true, lockInfo: { userId: 'u' } })
      t.match(await over(store).getLockInfo('d'), { username: 'name' }, 'no call without a name has taken it away')
      const { events } = await store.reads.history(allEvents)
      t.equal(events.filter(({ kind: event }) => event === 'granted').length, 1, 'the only grant there was')
    })

    await onStore('while a document changes hands, nobody has it twice and nobody is told nonsense', async (t, store, database) => {
      await using both = await instances(kind, store, database)
      let inside: string | undefined
      const worker = async (index: number): Promise<number> => {
        const [documents, userId] = [over(both.at(index)), `u${index}`]
        let turns = 0
        for (let tries = 0; tries < 40; tries += 1) {
          const answer = await documents.acquireLock('d', userId)
          if (!answer.success) {
            if (answer.lockedBy === userId) t.fail('refused by itself')
            continue
          }
          if (inside !== undefined) t.fail(`${userId} was let in to ${inside}`)
          inside = userId
          await documents.extendLock('d', userId)
          turns += 1
          inside = undefined
          await documents.releaseLock('d', userId)
        }
        return turns
      }
      const turns = await Promise.all(Array.from({ length: 6 }, (_, index) => worker(index)))
      t.ok(turns.reduce((sum, one) => sum + one) > 0)
      t.match(await store.submit(release('doc-lock:d', 'u0')), { kind: 'not-held' }, 'and nothing is left locked')
    })
  })
}
