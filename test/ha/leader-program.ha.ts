import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { inProject, Program, temporaryFolder } from '../support/program.js'
import { Random } from '../support/random.js'
import { Cluster } from '../torture/cluster.js'
import { readOptions } from '../torture/options.js'

/* The program of docs/client.md, as it stands there, three times. */

const PROCESSES = 3

/** What the latest line of that kind says. */
function latest(program: Program, what: RegExp): string | undefined {
  return [...program.stdout.matchAll(what)].at(-1)?.[0]
}

const statesOf = (program: Program): string[] => program.stdout.split('\n').filter((line) => / leads/.test(line))
const termsIn = (program: Program, what: string): number[] => Array.from(program.stdout.matchAll(new RegExp(`${what} in term (\\d+)\\n`, 'g')), ([, term]) => Number(term))

class Trio implements AsyncDisposable {
  readonly all: Program[] = []
  readonly ended: Program[] = []
  readonly #folder: AsyncDisposable & { readonly path: string }
  readonly #url: string

  private constructor(folder: AsyncDisposable & { readonly path: string }, url: string) {
    this.#folder = folder
    this.#url = url
  }

  static async start(url: string): Promise<Trio> {
    const folder = await temporaryFolder()
    const [, text = ''] = /^```js program\n(.*?)^```$/ms.exec(await readFile(inProject('docs/client.md'), 'utf8')) ?? []
    await writeFile(join(folder.path, 'program.mjs'), text)
    await mkdir(join(folder.path, 'node_modules'))
    await symlink(inProject('.'), join(folder.path, 'node_modules/resource-lock-manager'))
    const trio = new Trio(folder, url)
    for (let index = 0; index < PROCESSES; index += 1) trio.start(index)
    return trio
  }

  start(index: number): void {
    const before = this.all[index]
    if (before !== undefined) this.ended.push(before)
    this.all[index] = new Program([process.execPath, 'program.mjs'], { RLM_URL: this.#url }, this.#folder.path)
  }

  /** Resolves to the leader and its term, once all see the same one, later than `after`, and it works. */
  leader(after: number): Promise<{ readonly program: Program; readonly index: number; readonly term: number }> {
    return eventually(`all see a leader after ${after}`, () => {
      const seen = new Set(this.all.map((program) => statesOf(program).at(-1)))
      const [, pid, number] = /^[^/]*\/(\d+)\/\S* leads in term (\d+)$/.exec([...seen][0] ?? '') ?? []
      const index = this.all.findIndex((program) => program.pid === Number(pid))
      const program = this.all[index]
      const term = Number(number)
      const works = program !== undefined && latest(program, /^(?:working|stopped) in term \d+$/gm) === `working in term ${term}`
      return Promise.resolve(seen.size === 1 && works && term > after ? { program, index, term } : undefined)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.all) if (program.alive) program.signal('SIGKILL')
    await Promise.all(this.all.map((program) => program.end()))
    await this.#folder[Symbol.asyncDispose]()
  }
}

void t.test('the program of docs/client.md, three times, outlives kill -9 of the leader, the service and PostgreSQL', { timeout: 0 }, async (t) => {
  await using cluster = await Cluster.start(readOptions(['--instances', '1']), new Random(1))
  const { victim, nodes: [node] } = cluster
  if (node === undefined || !('crash' in victim)) throw new Error('one instance and PostgreSQL are asked for')
  await using trio = await Trio.start(node.url)
  const first = await trio.leader(0)

  first.program.signal('SIGKILL')
  await first.program.end()
  trio.start(first.index)
  const second = await trio.leader(first.term)
  t.not(second.program, first.program)

  await node.stop('SIGKILL')
  await node.start()
  const third = await trio.leader(second.term - 1)
  await victim.crash(200)
  const fourth = await trio.leader(third.term - 1)

  await node.stop('SIGKILL')
  await eventually('the leader stops in time', () => Promise.resolve(termsIn(fourth.program, 'stopped').includes(fourth.term) || undefined))
  await node.start()
  const last = await trio.leader(fourth.term)

  for (const program of [...trio.ended, ...trio.all]) {
    const terms = statesOf(program).flatMap((state) => /\d+$/.exec(state)?.map(Number) ?? [])
    t.same(terms, [...new Set(terms)].toSorted((a, b) => a - b), 'terms grow')
  }
  const workers = [...trio.ended, ...trio.all].flatMap((program) => Array.from(new Set(termsIn(program, 'working'))))
  t.equal(new Set(workers).size, workers.length, 'each term has one leader')
  t.ok(last.term > first.term)
  for (const program of trio.all) program.signal('SIGTERM')
  for (const program of trio.all) t.match(await program.end(), { code: 0, stderr: '' })
  t.match(await (await fetch(`${node.url}/locks/status?resource_name=reports`)).json(), { data: { is_locked: false } })
})
