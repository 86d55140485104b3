import { setTimeout as sleep } from 'node:timers/promises'
import { Session } from './session.js'

const WAITING = `select pid from pg_stat_activity where wait_event = 'SyncRep'`

/** Until disposed of, commits happen and are not confirmed: they wait for a standby that is not there. */
export async function unconfirmed(url: string) {
  const session = await Session.open(url)
  const standbys = async (names: string): Promise<void> => {
    await session.run(`alter system set synchronous_standby_names = '${names}'`)
    await session.run('select pg_reload_conf()')
    await sleep(100)
  }
  await standbys('nobody')
  return {
    /** Resolves when some commit has happened and waits for its confirmation. */
    async untilCommitted(): Promise<void> {
      while ((await session.run(WAITING)).length === 0) await sleep(10)
    },
    /** Ends the connections of commits that wait, once there is one. */
    async cut(): Promise<void> {
      await this.untilCommitted()
      await session.run(`select pg_terminate_backend(pid) from (${WAITING}) as waiting`)
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await standbys('')
      await session[Symbol.asyncDispose]()
    }
  }
}
