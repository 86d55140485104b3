import t from 'tap'
import { openSqlite } from '../../src/storage/sqlite/connection.js'
import { onServer } from '../../scripts/database-templates.js'
import { freshDatabase } from '../support/databases.js'
import { temporaryFolder } from '../support/program.js'
import { openOn } from '../support/store.js'

void t.test('SQLite is asked to flush every commit to the disk', async (t) => {
  await using folder = await temporaryFolder()
  using opened = openSqlite(`${folder.path}/locks.db`)
  t.equal(opened.database.pragma('synchronous', { simple: true }), 2, 'FULL')
  t.equal(opened.database.pragma('journal_mode', { simple: true }), 'wal')
})

void t.test('a PostgreSQL that does not wait for its disk is told of; one without a standby needs to wait for none', async (t) => {
  for (const [setting, warned] of [['on', 0], ['off', 1], ['local', 0]] as const) {
    await using database = await freshDatabase('postgres')
    await onServer(database.url, `alter database ${new URL(database.url).pathname.slice(1)} set synchronous_commit = ${setting}`)
    await using store = await openOn(database)
    t.equal(store.warnings.filter((warning) => warning.includes('synchronous_commit = off')).length, warned, setting)
  }
})
