import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { freshDatabase } from '../support/databases.js'
import { temporaryFolder, type Ending } from '../support/program.js'
import { startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

const ROUNDS = 10

void t.test('a cron job on two machines that share a PostgreSQL-backed service runs once', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  await using folder = await temporaryFolder()
  const settings = { DATABASE_URL: database.url }
  await using first = await Service.start({ settings })
  await using second = await Service.start({ settings })
  let token = 0
  for (let round = 1; round <= ROUNDS; round += 1) {
    // The job lasts until the other machine was refused, as a real one lasts longer than two clocks are apart.
    const over = join(folder.path, `over-${round}`)
    const job = 'echo "$RLM_FENCING_TOKEN"; until [ -e "$0" ]; do sleep 0.02; done'
    const machines = [first, second].map(({ url }) => startRlm(['run', 'nightly report', '--no-wait', '--', 'sh', '-c', job, over], { url }))
    const endings = machines.map((machine) => machine.end())
    const refused = await Promise.race(endings)
    await writeFile(over, '')
    const ran: Ending[] = (await Promise.all(endings)).filter(({ code }) => code === 0)
    t.match(refused, { code: 75, stdout: '', stderr: /^rlm: Resource 'nightly report' is locked by process '/ }, `round ${round}: one is refused`)
    t.equal(ran.length, 1, `round ${round}: one runs`)
    t.ok(Number(ran[0]?.stdout) > token, 'with a token larger than every earlier one')
    token = Number(ran[0]?.stdout)
  }
})
