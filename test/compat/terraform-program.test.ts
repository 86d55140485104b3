import { spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { type Ending, inProject, Program, temporaryFolder } from '../support/program.js'
import { rlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

const version = /^Terraform v\S+/.exec(spawnSync('terraform', ['version'], { encoding: 'utf8', env: { ...process.env, CHECKPOINT_DISABLE: '1' } }).stdout ?? '')?.[0]

/** The documented block, and outputs, which take no provider from the network. */
const [, BACKEND = ''] = /^```terraform\n(.*?)^```$/ms.exec(readFileSync(inProject('docs/other-apis.md'), 'utf8')) ?? []
const CONFIGURATION = 'variable "run" {}\noutput "run" { value = var.run }\n'

/** A server of states, which holds back its answers to writes while it is told to. */
class States implements AsyncDisposable {
  /** How many writes have come. */
  writes = 0
  #held: Promise<unknown> | undefined
  readonly #states = new Map<string, string>()
  readonly #server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => (text += part))
    request.on('end', () => {
      const state = this.#states.get(request.url ?? '')
      if (request.method === 'GET') return response.writeHead(state === undefined ? 404 : 200).end(state)
      this.writes += 1
      this.#states.set(String(request.url).replace(/\?.*/, ''), text)
      void Promise.resolve(this.#held).then(() => response.end())
    })
  })

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** @returns what lets the writes go on. */
  hold(): () => void {
    const goOn = new EventEmitter()
    this.#held = once(goOn, 'go on')
    return () => void goOn.emit('go on')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** A folder with a configuration for `terraform`. */
class Workspace {
  readonly #folder: string
  readonly #settings: Readonly<Record<string, string>>
  #runs = 0

  constructor(folder: string, settings: Readonly<Record<string, string>> = {}) {
    this.#folder = folder
    this.#settings = { HOME: folder, CHECKPOINT_DISABLE: '1', TF_IN_AUTOMATION: '1', TF_INPUT: '0', ...settings }
  }

  start(command: string, ...args: string[]): Program {
    return new Program(['terraform', command, '-no-color', ...args], this.#settings, this.#folder)
  }

  /** Each run has something to write. */
  startApply(...args: string[]): Program {
    this.#runs += 1
    return this.start('apply', '-auto-approve', `-var=run=${this.#runs}`, ...args)
  }

  apply(): Promise<Ending> {
    return this.startApply().end()
  }
}

void t.test(version === undefined ? 'terraform is not on the PATH: nothing was tried with it' : `with ${version}`, async (t) => {
  if (version === undefined) return
  await using folder = await temporaryFolder()
  await using states = new States()
  await using service = await Service.start({ cwd: folder.path })
  const backend = BACKEND.replaceAll('http://127.0.0.1:8000', service.url).replaceAll(/https:\/\/states\.example\.com/g, await states.listen())
  await writeFile(join(folder.path, 'main.tf'), backend + CONFIGURATION)
  const workspace = new Workspace(folder.path)
  const holder = async () => (await service.status('terraform:prod')).body.data?.['locked_by']

  t.match(await workspace.start('init').end(), { code: 0 }, 'the documented backend')

  await t.test('of two that apply at once, one is refused with the ID of the other', async (t) => {
    const goOn = states.hold()
    const first = workspace.startApply()
    await eventually('the first one writes', async () => states.writes === 1 || undefined)
    const id = await holder()
    t.match(id, /^[0-9a-f-]{36}$/)
    const { code, stderr } = await workspace.apply()
    t.equal(code, 1)
    t.match(stderr, new RegExp(`already locked:\\s+ID=${String(id)}`))

    const waits = workspace.startApply('-lock-timeout=5m')
    await eventually('the third one was refused too', async () => Number((await service.call('GET', '/locks/stats')).body.data?.['conflicts']) >= 2 || undefined)
    goOn()
    t.match(await first.end(), { code: 0 })
    t.match(await waits.end(), { code: 0 }, 'with -lock-timeout it gets the lock')
    t.equal(await holder(), null)
  })

  await t.test('what a run that was killed has locked, force-unlock unlocks', async (t) => {
    const before = states.writes
    const goOn = states.hold()
    const killed = workspace.startApply()
    await eventually('it writes', async () => states.writes > before || undefined)
    killed.signal('SIGKILL')
    await killed.end()
    const id = String(await holder())
    t.match((await workspace.apply()).stderr, new RegExp(`already locked:\\s+ID=${id}`))
    t.match(await workspace.start('force-unlock', '-force', id).end(), { code: 0 })
    t.equal(await holder(), null)
    goOn()
    t.match(await workspace.apply(), { code: 0 })
  })

  await t.test('with keys, the password is the key', async (t) => {
    const key = (await rlm(['keys', 'create', 'ci'], { cwd: folder.path })).stdout.trim()
    await eventually('keys are asked for', async () => (await service.status('x')).status === 401 || undefined)
    const refused = await workspace.apply()
    t.match(refused, { code: 1, stderr: /requires auth/ })
    t.match(await new Workspace(folder.path, { TF_HTTP_USERNAME: 'ci', TF_HTTP_PASSWORD: key }).apply(), { code: 0 })
  })
})
