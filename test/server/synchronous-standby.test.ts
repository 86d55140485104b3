import t from 'tap'
import { eventually } from '../support/eventually.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Service } from '../support/service.js'
import { unconfirmed } from '../support/session.js'

void t.test('what no synchronous standby has confirmed is not acknowledged, and a repeat finds out', async (t) => {
  await using server = await PostgresServer.start()
  await using service = await Service.start({ settings: { DATABASE_URL: server.url } })
  t.match(await service.request('before', 'p'), { status: 200 })

  {
    await using absent = await unconfirmed(server.url)
    const asking = service.request('a', 'p', { request_id: 'r' })
    await absent.untilCommitted()
    t.match(await asking, { status: 503, body: { code: 'OUTCOME_UNKNOWN' } }, 'the commit waits for a standby that is not there')
  }

  const repeated = await eventually('the way is free', async () => {
    const answer = await service.request('a', 'p', { request_id: 'r' })
    return answer.status === 503 ? undefined : answer
  })
  t.match(repeated, { status: 200, body: { data: { process_id: 'p', replayed: true } } }, 'it had been granted')
})
