import type { Command, OutcomeOf } from './commands.js'
import type { Grant, ProcessId } from './lock.js'

/** The longest page of a list. */
export const LOCK_LIST_LIMIT = 1000

/** Which valid grants to list, and from where. */
export interface ListQuery {
  /** Only names that begin with this text; empty lists all. Compared bytewise. */
  readonly prefix: string
  readonly processId: ProcessId | null
  /** Only names after this one, in bytewise order; null begins at the start. */
  readonly after: string | null
  /** 1 to {@link LOCK_LIST_LIMIT}. */
  readonly limit: number
}

export interface ListPage {
  /** All that match prefix and process, whatever the page shows. */
  readonly total: number
  /** In bytewise order of their names. */
  readonly grants: readonly Grant[]
  /** Whether names follow after the last one of this page. */
  readonly more: boolean
}

/**
 * The port to the database. Whatever it promises holds across all instances on one database, is decided by the database's
 * clock, and does not depend on whether the sweeper has run. Every rejection is a LockError.
 */
export interface LockStore extends AsyncDisposable {
  /**
   * Carries out one command and resolves once its effect is durable. Commands that arrive together are committed together;
   * commands for one name take effect in the order in which they were submitted.
   *
   * - `acquire` grants only over a free or expired resource; the new grant's number is drawn while nobody else can touch
   *   the resource and is larger than every earlier one of it; its lease starts at that moment.
   * - `release` ends only a grant that is valid, of that process and, where a lock id is given, of that number.
   * - `inspect` never reports an expired grant.
   * - `sweep` passes over rows that another instance is busy with.
   */
  submit<C extends Command>(command: C): Promise<OutcomeOf<C>>

  /** One page of the valid grants. Grants that come or go while a large count runs may or may not be counted. */
  list(query: ListQuery): Promise<ListPage>

  /** Resolves when the database answers a query and can take writes. */
  ping(): Promise<void>
}
