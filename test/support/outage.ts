import pg from 'pg'
import { parseDatabaseUrl } from '../../src/storage/index.js'
import { serverUrl, type TestDatabase } from './databases.js'

/** Lets nobody into a PostgreSQL database and cuts every connection to it, for as long as the body takes. */
export async function duringOutage(database: TestDatabase, body: () => Promise<void>): Promise<void> {
  const location = parseDatabaseUrl(database.url)
  const name = location.kind === 'postgres' ? new URL(location.url).pathname.slice(1) : ''
  const operator = new pg.Client({ connectionString: serverUrl() })
  await operator.connect()
  const allow = (yes: boolean) => operator.query(`alter database ${name} with allow_connections ${yes}`)
  try {
    await allow(false)
    for (let left = 1; left > 0; ) {
      left = (await operator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])).rows.length
    }
    await body()
    await allow(true)
  } finally {
    await operator.end()
  }
}
