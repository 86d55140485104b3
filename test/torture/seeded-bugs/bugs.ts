import { SHARE_BUGS } from './share-bugs.js'
import { TERM_BUGS } from './term-bugs.js'

/** One text of a compiled file and what stands there instead. */
export interface Patch {
  /** Below `dist/src`. */
  readonly file: string
  /** Occurs exactly once in it. */
  readonly find: string
  readonly replace: string
}

export interface Catcher {
  /** What must find it: a compiled test by its path below `dist/test`, or torture on a database. */
  readonly caughtBy: { readonly test: string } | { readonly torture: 'sqlite' | 'postgres' }
  /** What the catcher says then. */
  readonly says: RegExp
}

export interface SeededBug extends Catcher {
  readonly title: string
  readonly patches: readonly Patch[]
  /** What must find it too. */
  readonly also?: Catcher
}

/** The catchers of a bug, as the table in docs/reliability.md names them. */
export function catchersOf({ also, ...bug }: SeededBug): readonly Catcher[] {
  return also === undefined ? [bug] : [bug, also]
}

export function nameOfCatcher({ caughtBy }: Catcher): string {
  return 'test' in caughtBy ? `\`test/${caughtBy.test.replace(/js$/, 'ts')}\`` : `torture on ${caughtBy.torture === 'sqlite' ? 'SQLite' : 'PostgreSQL'}`
}

const ACQUIRE = 'storage/postgres/acquire-sql.js'

/** Ways in which lock services have been wrong, each put into this one by a change of a line or three. */
export const SEEDED_BUGS: readonly SeededBug[] = [
  {
    title: '`now()` instead of `clock_timestamp()`',
    patches: [{ file: 'storage/postgres/sql.js', find: "date_part('epoch', clock_timestamp())", replace: "date_part('epoch', now())" }],
    caughtBy: { test: 'storage/postgres-races.test.js' },
    says: /not ok .*a statement that waited for another session grants from then on/
  },
  {
    title: 'the number of a grant is drawn before its row is locked',
    patches: [
      { file: ACQUIRE, find: 'then 0 else 1 end as in_time', replace: 'then 1 else 1 end as in_time' },
      { file: ACQUIRE, find: "greatest(nextval('lock_numbers'), l.id + 1)", replace: 'excluded.id' }
    ],
    caughtBy: { test: 'storage/postgres-races.test.js' },
    says: /not ok .*a statement that waited for another session grants from then on/
  },
  {
    title: 'a row is deleted with the counter in it',
    patches: [
      { file: 'storage/sqlite/acquire.js', find: 'lockId: tokens.last + 1', replace: 'lockId: 1' },
      { file: 'storage/tables.js', find: 'KEEP_ENDED_MS = 10 * 60_000', replace: 'KEEP_ENDED_MS = 0' }
    ],
    caughtBy: { torture: 'sqlite' },
    says: /numbers do not grow/
  },
  {
    title: 'several locks are taken in the order in which they were asked for',
    patches: [{ file: ACQUIRE, find: 'order by ${bytewise(sql `resource_name`)}', replace: '' }],
    caughtBy: { test: 'storage/races.test.js' },
    says: /not ok .*requests and renewals take rows in one order/
  },
  {
    title: 'anybody can release a lock',
    patches: [{ file: 'storage/postgres/release.js', find: 'l.process_id = coalesce(to_end.process_id, l.process_id)', replace: 'true' }],
    caughtBy: { torture: 'postgres' },
    // Where the clock was set, no order is looked for: the history lacks the release of its own.
    says: /no order explains the answers|lost: #/
  },
  {
    title: 'a renewal brings an expired lock back',
    patches: [{ file: 'storage/postgres/renew.js', find: 'where l.resource_name = chosen.resource_name and ${VALID}', replace: 'where l.resource_name = chosen.resource_name' }],
    caughtBy: { test: 'storage/leases.test.js' },
    says: /not ok .*a renewal never brings an ended lock back/
  },
  {
    title: 'waiters rely on being notified',
    patches: [{ file: 'locks/wait-queue.js', find: 'this.#wake(first);', replace: 'void first;' }],
    caughtBy: { test: 'locks/wait-queue.test.js' },
    says: /not ok .*when calls are lost, a waiter asks by itself/
  },
  {
    title: '`synchronous_commit = off`',
    patches: [{ file: 'storage/postgres/connection.js', find: "'set lock_timeout = 5000'", replace: "'set lock_timeout = 5000', 'set synchronous_commit = off'" }],
    caughtBy: { torture: 'postgres' },
    says: /lost: #/
  },
  {
    title: '`synchronous = off`',
    patches: [{ file: 'storage/sqlite/connection.js', find: "database.pragma('synchronous = full')", replace: "database.pragma('synchronous = off')" }],
    caughtBy: { test: 'storage/durable-settings.test.js' },
    says: /not ok .*FULL/
  },
  {
    title: 'a repeated request is granted again',
    patches: [{ file: 'storage/sqlite/acquire.js', find: 'idempotencyKey === null ? undefined : this.findRequest(idempotencyKey, now)', replace: 'undefined' }],
    caughtBy: { torture: 'sqlite' },
    says: /no order explains the answers/
  },
  {
    title: 'a waiter outlives its connection',
    patches: [{ file: 'http/routes/locks.js', find: 'if (!sent)\n            gone.abort();', replace: 'void sent;' }],
    caughtBy: { test: 'http/waiting.test.js' },
    says: /not ok/
  },
  {
    title: 'input is coerced',
    patches: [{ file: 'http/validation.js', find: 'const AJV = { allowUnionTypes: true', replace: 'const AJV = { coerceTypes: true, allowUnionTypes: true' }],
    caughtBy: { test: 'http/bad-input.test.js' },
    says: /not ok/
  },
  {
    title: 'a lock is given back that a repetition was answered with',
    patches: [{ file: 'storage/postgres/acquire-sql.js', find: 'update lock_requests r set claimed = true', replace: 'update lock_requests r set claimed = false' }],
    caughtBy: { test: 'locks/claimed.test.js' },
    says: /not ok .*a grant that a repetition was answered with is not released/
  },
  {
    title: 'a lock is given back by the id of its request, whatever key that belongs to',
    patches: [{ file: 'locks/cleanup.js', find: 'unlessClaimed: idempotencyKey ?? undefined', replace: "unlessClaimed: idempotencyKey === null ? undefined : { ...idempotencyKey, id: idempotencyKey.id.startsWith('[') ? JSON.parse(idempotencyKey.id)[1] : idempotencyKey.id }" }],
    caughtBy: { test: 'locks/claimed.test.js' },
    says: /not ok .*with a key/
  },
  {
    title: 'a place is kept for a request that has another one',
    patches: [{ file: 'storage/sqlite/wait-queue.js', find: ' && this.#reads.otherPlace.get({ ticket, ...key, now }) === undefined', replace: '' }],
    caughtBy: { test: 'locks/wait-queue-races.test.js' },
    says: /not ok .*does not stand behind a place that is kept for the first/
  },
  {
    title: 'the first exit takes a ticket from the waiter that has it now',
    patches: [
      { file: 'locks/wait-queue.js', find: 'if (this.#byTicket.get(ticket) === waiter)', replace: 'if (true)' },
      { file: 'locks/wait-queue.js', find: 'filter((other) => other !== waiter)', replace: 'filter((other) => other.ticket !== ticket)' }
    ],
    caughtBy: { test: 'locks/wait-queue-races.test.js' },
    says: /not ok .*who took a kept place again is called/
  },
  {
    title: 'watchers are told of events before which one may still be committed',
    patches: [{ file: 'storage/history.js', find: 'if ([...writers].some((writer) => open.has(writer)))', replace: 'if (false)' }],
    caughtBy: { test: 'locks/event-feed-gaps.test.js' },
    says: /not ok .*a transaction that beg(?:an|ins) an event/
  },
  {
    title: 'a stream that is resumed repeats its last event',
    patches: [{ file: 'locks/event-feed.js', find: 'let position = after ??', replace: 'let position = (after === null || after === 0 ? after : after - 1) ??' }],
    caughtBy: { torture: 'sqlite' },
    says: /watcher \d was told of event \d+ after/
  },
  {
    title: 'what was to last until a time that the clock was set back from lasts on',
    patches: [{ file: 'storage/sqlite/wait-queue.js', find: ' and lease_until <= ${now} + ${sql.lit(KEEP_PLACE_MS)}', replace: '' }],
    caughtBy: { test: 'locks/clock-set-back.test.js' },
    says: /not ok .*a kept place keeps nothing free/
  },
  {
    title: 'so do the places of an instance that died before',
    patches: [{ file: 'storage/postgres/sql.js', find: ' and ${until} <= ${CLOCK} + ${sql.lit(longestMs)}', replace: '' }],
    caughtBy: { test: 'locks/clock-set-back.test.js' },
    says: /not ok .*an instance that died before the clock was set back/
  },
  {
    title: 'a repetition is refused at the limit of locks',
    patches: [{ file: 'locks/lock-service.js', find: 'if (idempotencyKey === null || !(error instanceof LockError', replace: 'if (true || !(error instanceof LockError' }],
    caughtBy: { test: 'http/limits.test.js' },
    says: /not ok .*a repetition is answered as ever where there is no room/
  },
  {
    title: 'a key releases what another one was granted',
    patches: [{ file: 'locks/lock.js', find: ' && (key ?? grant.key) === (grant.key ?? key)', replace: '' }],
    caughtBy: { torture: 'sqlite' },
    says: /an answer that the contract does not know: .*DELETE/
  },
  {
    title: 'a transaction stays open until an instance has read what its statement answered',
    patches: [
      { file: 'storage/postgres/executor.js', find: 'const session = new Session(client);', replace: "const session = new Session(client); await client.query('begin');" },
      { file: 'storage/postgres/executor.js', find: 'client.release(session.lost);', replace: "await client.query('commit'); client.release(session.lost);" }
    ],
    caughtBy: { test: 'storage/postgres-paused.test.js' },
    says: /not ok .*(?:an instance that is paused after a request for several|no command leaves a transaction open)/
  },
  {
    title: 'the history is pruned no further than an event of the future',
    patches: [{ file: 'storage/history.js', find: 'at >= before && at <= now', replace: 'at >= before' }],
    caughtBy: { test: 'storage/pruning.test.js' },
    says: /not ok .*the history is pruned behind/
  },
  {
    title: 'a SQLite file belongs to one server for each path to it',
    patches: [{ file: 'storage/sqlite/files.js', find: 'if (target === undefined)', replace: 'if (true)' }],
    caughtBy: { test: 'storage/sqlite-files.test.js' },
    says: /not ok .*one file has one owner, by whatever path/
  },
  {
    title: 'a first count that fails switches the limit of locks off',
    patches: [{ file: 'locks/quotas.js', find: '?? { atMost: Infinity', replace: '?? { atMost: 0' }],
    caughtBy: { test: 'locks/quotas.test.js' },
    says: /not ok .*a first count that fails does not switch the limit off/
  },
  {
    title: 'a service lives on without the thread of its SQLite file',
    patches: [{ file: 'storage/sqlite/store.js', find: 'onLost: onFatal', replace: 'onLost: () => undefined' }],
    caughtBy: { test: 'server/lost-thread.test.js' },
    says: /not ok .*a service that lost the thread of its SQLite file ends/
  },
  {
    title: 'a query is read to its end, however many parameters it has',
    patches: [{ file: 'http/parsers.js', find: ' && read < MAX_PARAMETERS', replace: '' }],
    caughtBy: { test: 'http/query-string.test.js' },
    says: /not ok .*no more parameters are read than any call has/
  },
  {
    title: 'a connection that reads nothing is owed any number of answers',
    patches: [{ file: 'http/gate.js', find: 'if (before >= MAX_PIPELINED)', replace: 'if (false)' }],
    caughtBy: { test: 'http/gate.test.js' },
    says: /not ok .*a connection that reads no answers is owed no more/
  },
  {
    title: 'a page of another site changes what it likes',
    patches: [{ file: 'http/gate.js', find: 'if (SAFE_METHODS.has(method))', replace: 'if (true)' }],
    caughtBy: { test: 'http/gate.test.js' },
    says: /not ok .*no page of another site changes anything/
  },
  {
    title: 'a waiter without a key outlives the first key',
    patches: [{ file: 'locks/api-keys.js', find: 'this.#began.abort();', replace: 'void any;' }],
    caughtBy: { test: 'http/keys.test.js' },
    says: /not ok .*without a key are sent away when the first one is made/
  },
  {
    title: 'a waiter that was removed is told by the notification alone',
    patches: [{ file: 'locks/wait-queue.js', find: 'for (const ticket of dequeued)', replace: 'for (const ticket of [])' }],
    caughtBy: { test: 'locks/release-all.test.js' },
    says: /not ok .*a waiter that is told nothing sees by itself/
  },
  ...SHARE_BUGS,
  ...TERM_BUGS
]
