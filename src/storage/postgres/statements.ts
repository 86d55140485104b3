import { sql, type Kysely, type RawBuilder } from 'kysely'
import { GRANT_COLUMNS, KEEP_ENDED_MS, LATEST_COLUMNS } from '../rows.js'
import { statement, type Statement } from '../statement.js'
import type { Tables } from '../tables.js'

/** `clock_timestamp()`, not `now()`: the latter stands still while a statement waits for a row. */
const CLOCK = sql<number>`floor(extract(epoch from clock_timestamp()) * 1000)::bigint`

/** The clock read once for a whole statement, so that an index can be searched with it. */
export const CLOCK_ONCE = sql<number>`(select ${CLOCK})`

const VALID = sql`(l.is_active and (l.expires_at is null or l.expires_at > ${CLOCK}))`
const KEEP = sql.lit(KEEP_ENDED_MS)
const columns = (names: readonly string[]): RawBuilder<unknown> => sql.join(names.map((name) => sql.ref(`l.${name}`)))

/**
 * The statements of the hot path on PostgreSQL. Each serves all commands of one kind in a batch, one array per argument,
 * and takes its rows in name order, so that the batches of two instances cannot wait for each other in a circle.
 */
export function postgresStatements(db: Kysely<Tables>) {
  const raw = <Args extends object>(
    build: (arg: <Name extends keyof Args & string>(name: Name) => RawBuilder<Args[Name]>) => RawBuilder<unknown>
  ): Statement<Args> => statement<Args>((arg) => build(arg).compile(db))

  return {
    begin: raw<object>(() => sql`begin`),
    commit: raw<object>(() => sql`commit`),

    /**
     * Lays a row for each name that has none, so that `acquire` always meets a row and reads the clock and draws the number
     * under its lock. A first request that waited for another instance's unfinished insert would otherwise begin its
     * lease, and draw its number, before the wait.
     */
    place: raw<{ names: string[] }>(
      (arg) => sql`
        insert into resource_locks (resource_name, id, process_id, locked_at, is_active, sweep_at)
        select asked.name, 0, '', 0, false, ${CLOCK} + ${KEEP}
        from unnest(${arg('names')}::text[]) as asked(name)
        where not exists (select from resource_locks l where l.resource_name = asked.name)
        order by asked.name
        on conflict do nothing`
    ),

    /**
     * Answers with the new grants and with the valid grants that stood in the way. A name in neither was free when the
     * statement began and taken when it came to its row: the command goes again.
     *
     * What is plainly held is left out before the upsert, since an upsert locks the row even where it then changes nothing.
     * The values to insert are those of a row laid in advance: should the sweeper have removed the row just now, nothing
     * is granted, and the command goes again.
     */
    acquire: raw<{ names: string[]; processes: string[]; ttls: (number | null)[]; metadata: (string | null)[] }>(
      (arg) => sql`
        with asked as materialized (
          select * from unnest(${arg('names')}::text[], ${arg('processes')}::text[], ${arg('ttls')}::bigint[], ${arg('metadata')}::text[])
            as asked(resource_name, process_id, ttl_ms, metadata)
        ),
        held as materialized (
          select ${columns(GRANT_COLUMNS)}, ${CLOCK} as at
          from asked join resource_locks l on l.resource_name = asked.resource_name
          where ${VALID}
        ),
        granted as (
          insert into resource_locks as l (resource_name, id, process_id, locked_at, is_active, ttl_ms, metadata, sweep_at)
          select resource_name, 0, process_id, 0, false, ttl_ms, metadata, ${CLOCK}
          from asked
          where not exists (select from held where held.resource_name = asked.resource_name)
          order by resource_name
          on conflict (resource_name) do update set
            id = greatest(nextval('lock_numbers'), l.id + 1),
            process_id = excluded.process_id,
            (locked_at, expires_at, sweep_at) =
              (select at, at + excluded.ttl_ms, at + excluded.ttl_ms from (select ${CLOCK} as at offset 0) as clock),
            is_active = true,
            ttl_ms = excluded.ttl_ms,
            metadata = excluded.metadata,
            ended_at = null,
            end_reason = null
          where not ${VALID}
          returning ${columns(GRANT_COLUMNS)}, l.is_active
        )
        select ${columns(GRANT_COLUMNS)}, null::bigint as at from granted l where is_active
        union all
        select ${columns(GRANT_COLUMNS)}, at from held l`
    ),

    /** Answers with the grants that were ended. The rows are locked in name order first; an update alone would not keep to it. */
    release: raw<{ names: string[]; processes: string[]; lockIds: (number | null)[] }>(
      (arg) => sql`
        with locked as materialized (
          select l.resource_name
          from unnest(${arg('names')}::text[], ${arg('processes')}::text[], ${arg('lockIds')}::bigint[])
              as asked(resource_name, process_id, lock_id)
            join resource_locks l on l.resource_name = asked.resource_name
          where l.process_id = asked.process_id and l.id = coalesce(asked.lock_id, l.id) and l.is_active
          order by l.resource_name
          for update of l
        )
        update resource_locks l set
          is_active = false,
          ended_at = ${CLOCK},
          end_reason = 'released',
          sweep_at = least(l.sweep_at, ${CLOCK} + ${KEEP})
        from locked
        where l.resource_name = locked.resource_name and ${VALID}
        returning ${columns(GRANT_COLUMNS)}, l.ended_at`
    ),

    /** One row per name, whether or not there is a lock. */
    look: raw<{ names: string[] }>(
      (arg) => sql`
        select asked.name, ${CLOCK} as at, ${columns(LATEST_COLUMNS)}
        from unnest(${arg('names')}::text[]) as asked(name) left join resource_locks l on l.resource_name = asked.name`
    ),

    /** One row with counts. A row whose number the sequence has not reached yet (a restored one) must stay to be outgrown. */
    sweep: raw<{ bite: number }>(
      (arg) => sql`
        with due as materialized (
          select resource_name, id, is_active, expires_at, ended_at, ${CLOCK} as at
          from resource_locks
          where sweep_at <= ${CLOCK_ONCE}
          order by sweep_at
          limit ${arg('bite')}
          for update skip locked
        ),
        verdict as materialized (
          select resource_name, at, case
            when is_active and expires_at <= at then 'expire'
            when is_active then 'postpone'
            when coalesce(ended_at, 0) + ${KEEP} <= at and id <= (select last_value from lock_numbers where is_called) then 'remove'
            else 'postpone'
          end as act
          from due
        ),
        expired as (
          update resource_locks l set is_active = false, ended_at = l.expires_at, end_reason = 'expired', sweep_at = at + ${KEEP}
          from verdict v where l.resource_name = v.resource_name and act = 'expire'
          returning 1
        ),
        postponed as (
          update resource_locks l set
            sweep_at = case when l.is_active then l.expires_at else greatest(coalesce(l.ended_at, 0), at - ${KEEP} + 1000) + ${KEEP} end
          from verdict v where l.resource_name = v.resource_name and act = 'postpone'
        ),
        removed as (
          delete from resource_locks l using verdict v where l.resource_name = v.resource_name and act = 'remove'
          returning 1
        )
        select
          (select count(*) from due) as seen,
          (select count(*) from expired) as expired,
          (select count(*) from removed) as removed`
    )
  }
}
