import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { fileOf } from './databases.js'
import { Session } from './session.js'

export interface Blocked extends AsyncDisposable {
  /** Resolves when the service waits, as far as can be seen from outside. */
  untilWaiting(): Promise<void>
}

/** Until it is disposed of, no lock of that database is granted or released: the service waits. */
export async function blockCommits(url: string): Promise<Blocked> {
  if (url.startsWith('sqlite:')) {
    const file = new Database(fileOf(url))
    file.exec('begin immediate')
    return {
      // SQLite does not say who waits.
      untilWaiting: () => sleep(50),
      [Symbol.asyncDispose]: async () => {
        file.exec('rollback')
        file.close()
      }
    }
  }
  const session = await Session.open(url)
  await session.run('begin')
  await session.run('lock table resource_locks in exclusive mode')
  return {
    untilWaiting: () => session.untilWaiting(),
    [Symbol.asyncDispose]: async () => {
      await session.run('rollback')
      await session[Symbol.asyncDispose]()
    }
  }
}
