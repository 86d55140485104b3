import t from 'tap'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import { ending } from '../../src/storage/postgres/release.js'
import { latestReader, type ReadLatest } from '../../src/storage/postgres/read-latest.js'
import { renewing } from '../../src/storage/postgres/renew.js'
import { Session } from '../../src/storage/postgres/session.js'
import { waitQueue } from '../../src/storage/postgres/wait-queue.js'
import { acquire, release, renew } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { openOn } from '../support/store.js'

/** Another instance grants the resource between the statement that found nothing and the look that asks why. */
async function grantedInBetween() {
  const database = await freshDatabase('postgres')
  const store = await openOn(database)
  const opened = await openPostgres(database.url, 1, () => undefined)
  const client = await opened.batches.connect()
  const { readLatest: look } = latestReader(opened.db)
  let granted = false
  const late: ReadLatest = async (session, names) => {
    if (!granted) await store.submit(acquire('a', 'p', 60_000))
    granted = true
    return look(session, names)
  }
  return {
    session: new Session(client),
    releasing: ending(opened.db, true, late, waitQueue(opened.db, 'x', () => undefined)),
    renewing: renewing(opened.db, true, late),
    async [Symbol.asyncDispose]() {
      client.release()
      await opened[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    }
  }
}

void t.test('a release that the grant came in between ends it, and does not say that somebody else has it', async (t) => {
  await using race = await grantedInBetween()
  t.match(await race.releasing.release(race.session, [release('a', 'p'), release('b', 'p')]), [
    { kind: 'done', outcome: { kind: 'released', grant: { lockId: 1 } } },
    { kind: 'done', outcome: { kind: 'not-held', reason: 'not_locked' } }
  ])
})

void t.test('a release by another process, or of another grant, is refused all the same', async (t) => {
  await using race = await grantedInBetween()
  t.match(await race.releasing.release(race.session, [release('a', 'q'), release('a', 'p', 7)]), [{ outcome: { reason: 'held_by_other' } }, { outcome: { reason: 'held_by_other' } }])
})

void t.test('a renewal that the grant came in between goes again', async (t) => {
  await using race = await grantedInBetween()
  t.match(await race.renewing.renew(race.session, [renew('a', 'p'), renew('b', 'p')]), [
    { kind: 'retry' },
    { kind: 'done', outcome: { kind: 'not-held', reason: 'not_locked' } }
  ])
  t.match(await race.renewing.renew(race.session, [renew('a', 'p')]), [{ kind: 'done', outcome: { kind: 'renewed' } }])
})
