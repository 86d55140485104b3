import t from 'tap'
import { eventually } from '../support/eventually.js'
import { temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

/** Ends the service's threads from within when it gets SIGWINCH. */
const LOSE_THREADS = "process.on('worker', (worker) => process.on('SIGWINCH', () => worker.terminate()))"

void t.test('a service that lost the thread of its SQLite file ends with a sentence, and holds what it granted when started again', async (t) => {
  await using folder = await temporaryFolder()
  const settings = { DATABASE_URL: 'sqlite:x.db', NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(LOSE_THREADS)}` }
  await using service = await Service.start({ cwd: folder.path, settings })
  t.match(await service.request('a', 'p'), { status: 200 })
  const waiter = service.request('a', 'q', { wait_seconds: 30 })
  await eventually('it waits', async () => (await service.call('GET', '/locks/stats')).body.data?.['waiters'] === 1 || undefined)
  service.signal('SIGWINCH')
  t.match(await waiter, { status: 503 })
  const { code, stdout } = await service.end()
  t.equal(code, 1)
  const said = stdout.split('\n').find((line) => line.includes('The thread of the SQLite file was lost'))
  t.match(said, /"level":60.*it exited with code 1\); the process has to be started again\./)

  await using again = await Service.start({ cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } })
  t.match(await again.request('a', 'q'), { status: 409, body: { locked_by: 'p' } })
})
