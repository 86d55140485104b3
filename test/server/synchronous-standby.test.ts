import t from 'tap'
import { eventually } from '../support/eventually.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'

void t.test('what no synchronous standby has confirmed is not acknowledged, and a repeat finds out', async (t) => {
  await using server = await PostgresServer.start()
  await using operator = await Session.open(server.url)
  const standbys = async (names: string): Promise<void> => {
    await operator.run(`alter system set synchronous_standby_names = '${names}'`)
    await operator.run('select pg_reload_conf()')
    await eventually('the server knows', async () => {
      const [row] = await operator.run<{ names: string }>("select current_setting('synchronous_standby_names') as names")
      return row?.names === names || undefined
    })
  }
  await using service = await Service.start({ settings: { DATABASE_URL: server.url } })
  t.match(await service.request('before', 'p'), { status: 200 })

  await standbys('absent')
  const asked = await service.request('a', 'p', { request_id: 'r' })
  t.match(asked, { status: 503, body: { code: 'OUTCOME_UNKNOWN' } }, 'the commit waits for a standby that is not there')
  await standbys('')

  const repeated = await eventually('the way is free', async () => {
    const answer = await service.request('a', 'p', { request_id: 'r' })
    return answer.status === 503 ? undefined : answer
  })
  t.match(repeated, { status: 200, body: { data: { process_id: 'p', replayed: true } } }, 'it had been granted')
})
