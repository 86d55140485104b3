import { sql, type Expression, type Kysely } from 'kysely'
import type { ApiKey, KeyEntry, Scope, KeysInUse, KeyStore, NewKey } from '../locks/api-keys.js'
import type { ApiKeysTable, Tables } from './tables.js'

export interface KeyStoreContext {
  readonly db: Kysely<Tables>
  /** The database's clock as an expression that is read once per statement. */
  readonly now: () => Expression<number>
  /** Turns the error of a query into a LockError, where it is one. */
  readonly toLockError: (error: unknown) => Error
}

/** The keys of a database without its locks. */
export interface OpenKeys extends AsyncDisposable {
  readonly keys: KeyStore
}

type KeyRow = Omit<ApiKeysTable, 'id'> & { id: number; now: number }

/** Keys in the `api_keys` table of a database. */
export class SqlKeyStore implements KeyStore {
  readonly #context: KeyStoreContext

  constructor(context: KeyStoreContext) {
    this.#context = context
  }

  create({ name, digest, scopes, prefix, validForMs }: NewKey): Promise<KeyEntry> {
    const { db, now } = this.#context
    return this.#run(async () => {
      const row = await db
        .insertInto('api_keys')
        .values({
          name,
          digest,
          scopes: scopes.join(','),
          prefix,
          created_at: now(),
          expires_at: validForMs === null ? null : sql<number>`${now()} + ${sql.lit(validForMs)}`
        })
        .returningAll()
        .executeTakeFirstOrThrow()
      return entryFromRow({ ...row, now: row.created_at })
    })
  }

  list(): Promise<readonly KeyEntry[]> {
    const { db, now } = this.#context
    return this.#run(async () => {
      const clock = sql<number>`${now()}`.as('now')
      const rows = await db.selectFrom('api_keys').selectAll().select(clock).orderBy('id').execute()
      return rows.map(entryFromRow)
    })
  }

  revoke(id: number): Promise<boolean> {
    const { db, now } = this.#context
    return this.#run(async () => {
      const done = db.updateTable('api_keys').set({ revoked_at: now() }).where('id', '=', id).where('revoked_at', 'is', null)
      return (await done.returning('id').execute()).length > 0
    })
  }

  inUse(): Promise<KeysInUse> {
    const { db, now } = this.#context
    return this.#run(async () => {
      const rows = await db
        .selectFrom('api_keys')
        .select(['id', 'name', 'digest', 'scopes', 'prefix'])
        .where('revoked_at', 'is', null)
        .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now())]))
        .execute()
      // Only afterwards: a key that is made in between must not be missed.
      const one = rows[0] ?? (await db.selectFrom('api_keys').select('id').limit(1).executeTakeFirst())
      return { any: one !== undefined, live: rows.map((row) => Object.assign(keyFromRow(row), { digest: row.digest })) }
    })
  }

  async #run<T>(query: () => Promise<T>): Promise<T> {
    try {
      return await query()
    } catch (error) {
      throw this.#context.toLockError(error)
    }
  }
}

function keyFromRow({ id, name, scopes, prefix }: Pick<KeyRow, 'id' | 'name' | 'scopes' | 'prefix'>): ApiKey {
  return { id, name, scopes: scopes.split(',') as Scope[], prefix }
}

function entryFromRow(row: KeyRow): KeyEntry {
  const { created_at: createdAt, expires_at: expiresAt, revoked_at: revokedAt, now } = row
  const expired = expiresAt !== null && expiresAt <= now
  return { ...keyFromRow(row), createdAt, expiresAt, revokedAt, state: revokedAt !== null ? 'revoked' : expired ? 'expired' : 'live' }
}
