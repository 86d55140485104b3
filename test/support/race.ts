import type { AcquireCommand } from '../../src/locks/commands.js'
import type { CommandResult } from '../../src/storage/batcher.js'
import { Acquire } from '../../src/storage/postgres/acquire.js'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import type { ShareCommand } from '../../src/storage/postgres/share-holders.js'
import { Shares } from '../../src/storage/postgres/shares.js'
import { Session, SnapshotReader } from '../../src/storage/postgres/sql.js'
import { WaitQueue } from '../../src/storage/postgres/wait-queue.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { freshDatabase, type TestDatabase } from './databases.js'
import { openOn } from './store.js'

/** Two instances on one PostgreSQL, one of which is overtaken by the other. */
interface Race extends AsyncDisposable {
  readonly store: SqlLockStore
  readonly database: TestDatabase
  /** Carries out commands on another instance, which is stopped between reading and writing until `meanwhile` is done. */
  readonly overtaken: (commands: readonly ShareCommand[], meanwhile: () => Promise<unknown>) => Promise<CommandResult[]>
  /** The same for a request for several resources. */
  readonly manyOvertaken: (command: AcquireCommand, meanwhile: () => Promise<unknown>) => Promise<CommandResult>
  /** Sends a request on another instance, which is stopped before it reads the resources: it has looked for an earlier one with the same id. */
  readonly repeated: (command: AcquireCommand, meanwhile: () => Promise<unknown>) => Promise<CommandResult>
}

export async function race(): Promise<Race> {
  const database = await freshDatabase('postgres')
  const store = await openOn(database)
  const opened = await openPostgres(database.url, 1, () => undefined)
  const client = await opened.batches.connect()
  let meanwhile: (() => Promise<unknown>) | undefined
  class SlowQueue extends WaitQueue {
    /** Sent together with what reads the resources: they were read when this is answered. */
    override async dequeuedAmong(session: Session, tickets: number[]) {
      const [dequeued] = await Promise.all([super.dequeuedAmong(session, tickets), session.run(READ, {})])
      // What was sent after those has been answered too.
      await session.run(READ, {})
      const action = meanwhile
      meanwhile = undefined
      await action?.()
      return dequeued
    }
  }
  let beforeReading: (() => Promise<unknown>) | undefined
  const stop = async (): Promise<void> => {
    const action = beforeReading
    beforeReading = undefined
    await action?.()
  }
  class SlowShares extends Shares {
    override async execute(session: Session, commands: readonly ShareCommand[]) {
      await stop()
      return await super.execute(session, commands)
    }
    override async acquireMany(session: Session, command: AcquireCommand) {
      await stop()
      return await super.acquireMany(session, command)
    }
  }
  class SlowReader extends SnapshotReader {
    override async readLatest(session: Session, names: readonly string[]) {
      await stop()
      return await super.readLatest(session, names)
    }
  }
  const queue = new SlowQueue(opened.db, 'x', () => undefined)
  const shares = new SlowShares(opened.db, true, queue)
  const acquires = new Acquire(opened.db, true, new SlowReader(opened.db), queue, shares)
  return {
    store, database,
    overtaken: (commands, action) => {
      meanwhile = action
      return shares.execute(new Session(client), commands)
    },
    manyOvertaken: (command, action) => {
      meanwhile = action
      return shares.acquireMany(new Session(client), command)
    },
    repeated: async (command, action) => {
      beforeReading = action
      const session = new Session(client)
      if (command.resourceNames.length > 1) return await acquires.acquireMany(session, command)
      const [result] = await acquires.executeShared(session, [command])
      return result ?? { kind: 'retry' }
    },
    async [Symbol.asyncDispose]() {
      client.release()
      await opened[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    }
  }
}

/** Its answer comes after those of the statements before it. */
const READ = { name: 'share_races', sql: 'select 1', bind: () => [] }
/** What was read had changed when it was to be written: the command runs again. */
export const RETRIED = [{ kind: 'retry' }]
