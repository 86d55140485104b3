import t from 'tap'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import { Release } from '../../src/storage/postgres/release.js'
import { Renew } from '../../src/storage/postgres/renew.js'
import { Shares } from '../../src/storage/postgres/shares.js'
import { Session, SnapshotReader } from '../../src/storage/postgres/sql.js'
import { WaitQueue } from '../../src/storage/postgres/wait-queue.js'
import { acquire, release, renew } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { openOn } from '../support/store.js'

/** Another instance grants the resource between the statement that found nothing and the look that asks why. */
async function grantedInBetween() {
  const database = await freshDatabase('postgres')
  const store = await openOn(database)
  const opened = await openPostgres(database.url, 1, () => undefined)
  const client = await opened.batches.connect()
  let granted = false
  class LateReader extends SnapshotReader {
    override async readLatest(session: Session, names: readonly string[]) {
      if (!granted) await store.submit(acquire('a', 'p', 60_000))
      granted = true
      return super.readLatest(session, names)
    }
  }
  const reader = new LateReader(opened.db)
  const queue = new WaitQueue(opened.db, 'x', () => undefined)
  const shares = new Shares(opened.db, true, queue)
  return {
    session: new Session(client),
    releases: new Release(opened.db, true, reader, queue, shares),
    renewals: new Renew(opened.db, true, reader, shares),
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
  t.match(await race.releases.release(race.session, [release('a', 'p'), release('b', 'p')]), [
    { kind: 'done', outcome: { kind: 'released', grant: { lockId: 1 } } },
    { kind: 'done', outcome: { kind: 'not-held', reason: 'not_locked' } }
  ])
})

void t.test('a release by another process, or of another grant, is refused all the same', async (t) => {
  await using race = await grantedInBetween()
  t.match(await race.releases.release(race.session, [release('a', 'q'), release('a', 'p', 7)]), [{ outcome: { reason: 'held_by_other' } }, { outcome: { reason: 'held_by_other' } }])
})

void t.test('a renewal that the grant came in between goes again', async (t) => {
  await using race = await grantedInBetween()
  t.match(await race.renewals.renew(race.session, [renew('a', 'p'), renew('b', 'p')]), [
    { kind: 'retry' },
    { kind: 'done', outcome: { kind: 'not-held', reason: 'not_locked' } }
  ])
  t.match(await race.renewals.renew(race.session, [renew('a', 'p')]), [{ kind: 'done', outcome: { kind: 'renewed' } }])
})
