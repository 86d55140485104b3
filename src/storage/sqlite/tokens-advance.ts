import { target, type AdvancedTokens } from '../migrator.js'
import { openSqlite } from './connection.js'

/** Raises the numbers of a file that no server has open. */
export async function advanceSqliteTokens(file: string, above: number | undefined): Promise<AdvancedTokens> {
  using opened = openSqlite(file)
  const { db } = opened
  const { last_value: drawn } = await db.selectFrom('lock_numbers').select('last_value').executeTakeFirstOrThrow()
  const row = await db
    .selectFrom('resource_locks')
    .select(({ fn }) => fn.max('id').as('id'))
    .executeTakeFirst()
  const from = Math.max(drawn, row?.id ?? 0)
  const to = await target(db, from, Date.now(), above)
  await db.updateTable('lock_numbers').set({ last_value: to }).execute()
  return { from, to }
}
