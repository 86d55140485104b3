import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.js'
import { inProject, Program, temporaryFolder } from '../support/program.js'
import { rlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

const page = readFileSync(inProject('docs/api.md'), 'utf8')
const NAME = 'nightly report'

/** What the page shows in that language under that heading. */
function shown(heading: string, language: string): string {
  const section = page.slice(page.indexOf(`## ${heading}`))
  return new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(section)?.[1] ?? ''
}

const isHere = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0

void t.test('Python takes, renews and releases a lock, and waits for it, with its standard library', async (t) => {
  if (!isHere('python3', '--version')) return t.comment('no python3 here')
  await using folder = await temporaryFolder()
  await using service = await Service.start({ cwd: folder.path })
  const script = shown('From Python', 'python')
  t.ok(script.split('\n').filter((line) => line.trim() !== '').length <= 20)
  const python = (settings = {}) => new Program(['python3', '-c', script], { RLM_URL: service.url, ...settings }, folder.path)
  t.match(await python().end(), { code: 0, stdout: 'fencing token 1\n', stderr: '' })
  t.match(await service.call('GET', '/locks/stats'), { body: { data: { grants: 1, renewals: 1, releases: 1 } } })

  await service.request(NAME, 'another')
  const waits = python()
  await eventually('it waits', async () => Number((await service.status(NAME)).body.data?.['waiters']) === 1 || undefined)
  await service.release(NAME, 'another')
  t.match(await waits.end(), { code: 0, stdout: 'fencing token 3\n' })

  const key = (await rlm(['keys', 'create', 'k'], { cwd: folder.path })).stdout.trim()
  await eventually('keys are asked for', async () => (await service.status('x')).status === 401 || undefined)
  t.match(await python().end(), { code: 1, stderr: /UNAUTHORIZED/ })
  t.match(await python({ RLM_API_KEY: key }).end(), { code: 0, stdout: 'fencing token 4\n' })
})

/** The function of the page in a shell; `with_lock` runs what the test says. */
class Shell {
  readonly #shell: string
  readonly #file: string
  readonly #url: string

  constructor(shell: string, file: string, url: string) {
    this.#shell = shell
    this.#file = file
    this.#url = url
  }

  /** @param input what comes in on the standard input. */
  start(call: string, settings: Readonly<Record<string, string>> = {}, input = ''): Program {
    const script = `. "$0"; printf '%s' ${JSON.stringify(input)} | ${call}`
    return new Program([this.#shell, '-c', script, this.#file], { RLM_URL: this.#url, ...settings }, '/')
  }
}

async function locksFromShell(t: Test, shell: string): Promise<void> {
  if (!isHere('curl', '--version')) return t.comment('no curl here')
  await using folder = await temporaryFolder()
  await using service = await Service.start({ cwd: folder.path })
  const [definition = ''] = /^with_lock\(\).*?^\)\n/ms.exec(shown('From a shell', 'sh')) ?? []
  t.ok(definition.trim().split('\n').length <= 12)
  const file = join(folder.path, 'with-lock.sh')
  await writeFile(file, definition)
  const sh = new Shell(shell, file, service.url)
  const holder = async (name: string) => (await service.status(name)).body.data?.['locked_by']

  t.match(await sh.start(`with_lock 'a "b" \\c' 30 sh -c 'cat; echo "$1"; exit 7' sh 'x  y'`, {}, 'in').end(), { code: 7, stdout: 'inx  y\n', stderr: '' }, 'input, words and exit code are the command’s')
  t.match(await service.call('GET', '/locks/history'), { body: { data: { events: [{ event: 'released' }, { event: 'granted', resource_name: 'a "b" \\c' }] } } })

  await service.request(NAME, 'another')
  t.match(await sh.start(`with_lock '${NAME}' 30 echo ran`).end(), { code: 75, stdout: '' }, 'it does not run beside another')
  const waits = sh.start(`with_lock '${NAME}' 30 echo ran`, { RLM_WAIT_SECONDS: '60' })
  await eventually('it waits', async () => Number((await service.status(NAME)).body.data?.['waiters']) === 1 || undefined)
  await service.release(NAME, 'another')
  t.match(await waits.end(), { code: 0, stdout: 'ran\n' })
  t.match(await sh.start(`with_lock '' 30 echo ran`).end(), { code: 70, stdout: '', stderr: 'with_lock: the service answered 422\n' })

  const renewed = sh.start(`with_lock '${NAME}' 12 sleep 600`)
  await eventually('it is renewed', async () => Number((await service.call('GET', '/locks/stats')).body.data?.['renewals']) > 1 || undefined)
  await service.call('POST', '/locks/force-release', { resource_name: NAME, reason: 'a test' })
  t.match(await renewed.end(), { code: 128 + 15 }, 'the command ends when the lock is lost')

  const key = (await rlm(['keys', 'create', 'k', '--scopes', 'admin'], { cwd: folder.path })).stdout.trim()
  await eventually('keys are asked for', async () => (await service.status('x')).status === 401 || undefined)
  t.match(await sh.start(`with_lock '${NAME}' 30 echo ran`).end(), { code: 70, stderr: 'with_lock: the service answered 401\n' })
  t.match(await sh.start(`with_lock '${NAME}' 30 echo ran`, { RLM_API_KEY: key }).end(), { code: 0, stdout: 'ran\n' })
  t.equal(await holder(NAME), undefined)
}

for (const shell of ['dash', 'bash']) {
  void t.test(`${shell} runs a command under a lock with curl alone`, async (t) => {
    if (!isHere(shell, '-c', ':')) return t.comment(`no ${shell} here`)
    await locksFromShell(t, shell)
  })
}
