import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { inProject, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

const run = promisify(execFile)
const page = readFileSync(inProject('docs/api.md'), 'utf8')

interface Step {
  readonly command: string
  readonly answer: string
}

/** Every `$ command` of the page's console blocks, and what the page says it prints. */
const steps = Array.from(page.matchAll(/^```console\n(.*?)^```$/gms), ([, block = '']) => block.split(/^\$ /m).slice(1))
  .flat()
  .map((text): Step => {
    const { command = '', answer = '' } = /^(?<command>(?:[^\n]*\\\n)*[^\n]*)\n(?<answer>.*)$/s.exec(text)?.groups ?? {}
    return { command, answer }
  })

/** Times, the rest of a lease, and on PostgreSQL the numbers of events differ from run to run; line breaks are the page's own. */
function comparable(answer: string): string {
  return answer
    .replaceAll('\n', '')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+\+00:00/g, 'TIME')
    .replaceAll(/"(retry_after_seconds|remaining_seconds|event_id)":[\d.]+/g, '"$1":NUMBER')
    .replaceAll(/"next_cursor":"\w+"/g, '"next_cursor":"CURSOR"')
}

for (const kind of DATABASES) {
  void t.test(`docs/api.md runs from top to bottom on an empty service: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    await using service = await Service.start({ settings: { DATABASE_URL: database.url } })
    t.ok(steps.length > 20)
    for (const { command, answer } of steps) {
      const call = command.replaceAll('http://127.0.0.1:8000', service.url).replaceAll('curl ', 'curl --silent ').replace('--max-time 1 ', '--max-time 5 ')
      const { stdout } = await run('bash', ['-c', call])
      t.equal(comparable(stdout), comparable(answer), command)
    }
  })
}

void t.test('the first commands of the README take, see, wait for and release a lock', async (t) => {
  await using service = await Service.start()
  await using answers = await temporaryFolder()
  const [, block = ''] = /^```console\n(.*?)^```$/ms.exec(readFileSync(inProject('README.md'), 'utf8')) ?? []
  // Two commands run at once: each has a file of its own, since their bytes would mix in one pipe.
  const call = `curl --silent --output "$(mktemp --tmpdir=${answers.path})" `
  const script = block.replaceAll(/^\$ /gm, '').replaceAll('http://127.0.0.1:8000', service.url).replaceAll('curl ', call)
  await run('bash', ['-c', `${script}wait`])
  const texts = readdirSync(answers.path).map((name) => readFileSync(join(answers.path, name), 'utf8'))
  t.same(texts.map((text) => (JSON.parse(text) as { success: boolean }).success), Array(4).fill(true))
  const { body } = await service.call('GET', '/locks/history?resource_name=nightly+report')
  const events = body.data?.['events'] as { readonly event: string, readonly process_id: string }[]
  t.same(events.filter(({ event }) => event === 'granted').map((event) => event.process_id), ['web-2', 'web-1'], 'who waited had it next')
})
