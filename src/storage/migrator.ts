import { Migrator, type Kysely } from 'kysely'
import type { DialectName } from '../../migrations/dialect.js'
import { migrationsFor } from '../../migrations/index.js'
import { StartupError } from '../locks/errors.js'
import type { Tables } from './tables.js'

/**
 * Brings the database to the newest version this code knows. Several instances may do so at once: Kysely's lock lets one
 * work while the others wait, and they then find nothing left to do.
 *
 * @returns the names of the migrations that were run now.
 * @throws StartupError when the database was made by a newer version.
 */
export async function migrateToLatest(db: Kysely<Tables>, dialect: DialectName): Promise<readonly string[]> {
  const known = migrationsFor(dialect)
  const newer = (await namesInDatabase(db)).filter((name) => !(name in known))
  if (newer.length > 0) {
    throw new StartupError(
      `The database is newer than this version of the service (it knows ${newer.join(', ')}, which this version does not); ` +
        'start the newer version.'
    )
  }
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(known) } })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
  return results.filter(({ status }) => status === 'Success').map(({ migrationName }) => migrationName)
}

async function namesInDatabase(db: Kysely<Tables>): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(({ name }) => name === 'kysely_migration')) return []
  const rows = await db.withTables<{ kysely_migration: { name: string } }>().selectFrom('kysely_migration').select('name').execute()
  return rows.map(({ name }) => name)
}
