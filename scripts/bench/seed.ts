import Database from 'better-sqlite3'
import { parseDatabaseUrl, migrateDatabase } from '../../src/storage/index.js'
import { onServer } from './surroundings.js'

/** Lays so many live locks, an hour long, named `seed-0000000` and on. */
export async function seedLive(url: string, locks: number): Promise<void> {
  await migrateDatabase(url)
  await fill(url, 'seed-', locks, Date.now() + 3_600_000)
  await (isPostgres(url) ? onServer(url, 'vacuum analyze resource_locks') : Promise.resolve())
}

/** Lays so many locks whose lease has just ended. */
export async function seedExpired(url: string, locks: number): Promise<void> {
  await fill(url, 'gone-', locks, Date.now() - 1000)
}

async function fill(url: string, prefix: string, locks: number, expiresAt: number): Promise<void> {
  const columns = 'resource_name, id, process_id, locked_at, expires_at, is_active, ttl_ms, sweep_at, told_at'
  const lockedAt = expiresAt - 3_600_000
  const rest = `'seed-' || (i % 1000), ${lockedAt}, ${expiresAt}, true, 3600000, ${expiresAt}, ${lockedAt}`
  if (isPostgres(url)) {
    await onServer(
      url,
      `insert into resource_locks (${columns})
       select '${prefix}' || lpad(i::text, 7, '0'), nextval('lock_numbers'), ${rest} from generate_series(0, ${locks - 1}) as i`
    )
    return
  }
  const location = parseDatabaseUrl(url)
  if (location.kind !== 'sqlite') throw new Error('neither SQLite nor PostgreSQL')
  const database = new Database(location.file)
  try {
    database.exec(
      `insert into resource_locks (${columns})
       select printf('${prefix}%07d', i), i + 1, ${rest}
       from (with recursive numbers(i) as (select 0 union all select i + 1 from numbers where i < ${locks - 1}) select i from numbers)`
    )
    database.pragma('wal_checkpoint(truncate)')
  } finally {
    database.close()
  }
}

function isPostgres(url: string): boolean {
  return url.startsWith('postgres')
}
