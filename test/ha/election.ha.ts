import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { HttpLocks, type Leadership } from '../../src/client/index.js'
import { eventually } from '../support/eventually.js'
import { startProgram, type Program } from '../support/program.js'
import { Random } from '../support/random.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'
import { Cluster } from '../torture/cluster.js'
import { readOptions } from '../torture/options.js'

/*
 * `TAP_TIMEOUT=0 ELECTION_ROUNDS=200 node dist/test/ha/election.ha.js` is the longer proof. Candidates, instances and PostgreSQL run on one
 * machine, so that one clock tells when a leader believed to lead, and when the database granted the next term.
 */

const ROUNDS = Number(process.env['ELECTION_ROUNDS'] ?? 7)
const SEED = Number(process.env['ELECTION_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const NAME = 'scheduler'
const CANDIDATES = 3
const TTL_MS = 2000
/** A leader that wrote nothing for so long had no processor, and hears late that it no longer leads, as a stopped one does. */
const STALLED_MS = 200

interface Term {
  readonly by: Program
  /** The last instant at which it believed to lead. */
  leadsAt: number
  /** Between two such instants. */
  longestGapMs: number
  /** When its signal fired. */
  endsAt: number | undefined
  /** Something was done to the leader, so that another one is waited for. */
  isOver: boolean
  killedAt?: number
}

/** The candidates, and what they wrote. */
class Field implements AsyncDisposable {
  readonly faults: string[] = []
  readonly terms = new Map<number, Term>()
  readonly #urls: readonly string[]
  readonly #programs: Program[] = []
  readonly #read = new Map<Program, number>()

  constructor(urls: readonly string[]) {
    this.#urls = urls
    for (let index = 0; index < CANDIDATES; index += 1) this.start(index)
  }

  start(index: number): void {
    this.#programs[index] = startProgram('test/ha/candidate.js', { settings: { RLM_URL: this.#urls[index % this.#urls.length] ?? '', NAME, TTL: String(TTL_MS / 1000) } })
  }

  /** Starts another one in the place of one that has ended. */
  replace(program: Program): void {
    this.start(this.#programs.indexOf(program))
  }

  /** Which of the instances it talks to. */
  instanceOf(program: Program): number {
    return this.#programs.indexOf(program) % this.#urls.length
  }

  /** Resolves to the latest term, once its leader runs and nothing was done to it. */
  leader(): Promise<readonly [number, Term]> {
    return eventually('a leader', () => {
      this.read()
      const [latest] = [...this.terms].toSorted(([a], [b]) => b - a)
      return Promise.resolve(latest !== undefined && latest[1].by.alive && !latest[1].isOver && latest[1].endsAt === undefined ? latest : undefined)
    })
  }

  read(): void {
    for (const program of this.#programs) {
      const from = this.#read.get(program) ?? 0
      const to = program.stdout.lastIndexOf('\n') + 1
      this.#read.set(program, Math.max(from, to))
      for (const line of program.stdout.slice(from, to).split('\n').slice(0, -1)) this.#take(program, line)
    }
  }

  #take(by: Program, line: string): void {
    const [what, number, instant] = line.split(' ')
    const [term, at] = [Number(number), Number(instant)]
    const known = this.terms.get(term)
    if (what === 'elected' && known === undefined) this.terms.set(term, { by, leadsAt: at, longestGapMs: 0, endsAt: undefined, isOver: false })
    else if (known?.by !== by || what === 'elected') this.faults.push(`${by.pid} says '${line}', and ${known?.by.pid} leads in this term`)
    else if (what === 'ends' || what === 'leads') {
      known.longestGapMs = Math.max(known.longestGapMs, at - known.leadsAt)
      if (what === 'leads') known.leadsAt = at
      else known.endsAt = at
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs) if (program.alive) program.signal('SIGKILL')
    for (const program of this.#programs) await program.end()
    this.read()
  }
}

interface Granted {
  readonly term: number
  readonly process: string
  readonly at: number
}

/** Every term that the database has granted, in order. */
async function grantedTerms(url: string): Promise<Granted[]> {
  await using session = await Session.open(url)
  return await session.run("select lock_id::int as term, process_id as process, at::float from lock_events where resource_name = $1 and kind = 'granted' order by lock_id", [NAME])
}

/** What is wrong with what the candidates wrote, beside the terms that the database has granted. */
function faultsOf({ terms, faults }: Field, granted: readonly Granted[]): string[] {
  const unknown = [...terms].flatMap(([term, { by }]) => (granted.some((one) => one.term === term && one.process.includes(`/${by.pid}/`)) ? [] : [`${by.pid} led in ${term}, which it was not granted`]))
  const late = granted.flatMap(({ term }, index) => {
    const next = granted[index + 1]
    const told = terms.get(term)
    if (next === undefined || told === undefined) return []
    const beside = told.leadsAt > next.at ? [`the leader of ${term} believed to lead ${told.leadsAt - next.at} ms after ${next.term} was granted`] : []
    const isLate = told.endsAt !== undefined && told.endsAt > next.at && told.longestGapMs < STALLED_MS && !told.isOver
    return isLate ? [...beside, `the signal of ${term} fired ${Number(told.endsAt) - next.at} ms after ${next.term} was granted`] : beside
  })
  return [...faults, ...unknown, ...late]
}

const median = (some: readonly number[]): number => some.toSorted((a, b) => a - b)[Math.floor(some.length / 2)] ?? Number.NaN
const said = (some: readonly number[]): string => `median ${Math.round(median(some))} ms, at most ${Math.round(Math.max(...some))} ms, of ${some.length}`

async function crash(field: Field, [, leader]: readonly [number, Term]): Promise<void> {
  leader.killedAt = Date.now()
  leader.by.signal('SIGKILL')
  await leader.by.end()
  field.read()
  field.replace(leader.by)
}

/** How long after each `kill -9` of a leader the next term was granted. */
function takeovers({ terms }: Field, granted: readonly Granted[]): number[] {
  return granted.flatMap(({ term }, index) => {
    const [killedAt, next] = [terms.get(term)?.killedAt, granted[index + 1]]
    return killedAt === undefined || next === undefined ? [] : [next.at - killedAt]
  })
}

void t.test(`elections on two instances and PostgreSQL, seed ${SEED}`, { timeout: 0 }, async (t) => {
  const random = new Random(SEED)
  await using cluster = await Cluster.start(readOptions(['--instances', '2']), random)
  const { victim, nodes } = cluster
  if (!('crash' in victim)) throw new Error('PostgreSQL is asked for')

  await t.test('candidates and the database go by one clock', async (t) => {
    await using session = await Session.open(victim.url)
    const before = Date.now()
    const [row] = await session.run<{ at: number }>('select floor(extract(epoch from clock_timestamp()) * 1000)::float as at')
    t.ok(row !== undefined && before <= row.at && row.at <= Date.now())
  })

  await t.test('a leader that is killed is followed within its lease', { timeout: 0 }, async (t) => {
    const field = new Field(nodes.map(({ url }) => url))
    for (let round = 0; round < ROUNDS; round += 1) {
      const leader = await field.leader()
      await sleep(random.next() * 300)
      await crash(field, leader)
    }
    await field.leader()
    await field[Symbol.asyncDispose]()
    const granted = await grantedTerms(victim.url)
    t.same(faultsOf(field, granted), [])
    const times = takeovers(field, granted)
    t.equal(times.length, ROUNDS)
    t.ok(Math.max(...times) < TTL_MS + 30_000, said(times))
    t.comment(`from kill -9 of the leader to the next grant, with a lease of ${TTL_MS} ms: ${said(times)}`)
  })

  await t.test('there is one leader in a term, and none believes to lead when the next is granted, whatever is killed, stopped and cut off', { timeout: 0 }, async (t) => {
    const field = new Field(nodes.map(({ viaProxy }) => viaProxy))
    const done = new Map<string, number>()
    const faults = {
      crash: (leader: readonly [number, Term]) => crash(field, leader),
      resign: ([, leader]: readonly [number, Term]) => Promise.resolve(leader.by.signal('SIGUSR1')),
      // As long as it takes another one to lead: what it believes then is for the fencing token to refuse.
      stop: async ([term, leader]: readonly [number, Term]) => {
        leader.isOver = true
        leader.by.signal('SIGSTOP')
        const [next] = await field.leader()
        leader.by.signal('SIGCONT')
        if (next > term) await eventually('it hears', () => Promise.resolve((field.read(), leader.endsAt)))
      },
      'stop for a moment': async ([, leader]: readonly [number, Term]) => {
        leader.by.signal('SIGSTOP')
        await sleep(random.next() * TTL_MS * 1.2)
        leader.by.signal('SIGCONT')
      },
      // It counts its lease by itself, while another one is granted the next term at the lease's end.
      'cut off': async ([, leader]: readonly [number, Term]) => {
        const node = nodes[field.instanceOf(leader.by)]
        node?.proxy.retarget(1)
        node?.proxy.cut()
        await eventually('the next leader', () => Promise.resolve((field.read(), [...field.terms.values()].at(-1) === leader ? undefined : true)))
        node?.proxy.retarget(Number(new URL(node.url).port))
      },
      'kill an instance': async ([, leader]: readonly [number, Term]) => {
        const node = nodes[field.instanceOf(leader.by)]
        await node?.stop('SIGKILL')
        await sleep(random.next() * TTL_MS)
        await node?.start()
      },
      'kill PostgreSQL': () => victim.crash(random.whole(0, 500))
    }
    const kinds = Object.keys(faults) as (keyof typeof faults)[]
    for (let round = 0; round < ROUNDS; round += 1) {
      const leader = await field.leader()
      await sleep(random.next() * 200)
      // Each once, and then as it comes.
      const kind = kinds[round] ?? random.pick(kinds)
      await faults[kind](leader)
      done.set(kind, (done.get(kind) ?? 0) + 1)
    }
    await field.leader()
    await field[Symbol.asyncDispose]()
    const granted = await grantedTerms(victim.url)
    t.same(faultsOf(field, granted), [])
    const stalled = [...field.terms.values()].filter(({ longestGapMs }) => longestGapMs >= STALLED_MS).length
    t.comment(`${field.terms.size} terms, in ${stalled} the leader was stopped or had no processor for ${STALLED_MS} ms; ${[...done].map(([kind, count]) => `${kind}: ${count}`).join(', ')}`)
  })

  await t.test('who resigns is followed at once', { timeout: 0 }, async (t) => {
    await using sqlite = await Service.start()
    const urls = nodes.map(({ url }) => url)
    for (const [where, [one = '', other = one]] of [['SQLite', [sqlite.url]], ['PostgreSQL, one instance', urls.slice(0, 1)], ['PostgreSQL, two instances', urls]] as const) {
      const times = await handOvers([one, other], ROUNDS)
      t.ok(Math.max(...times) < 60_000, 'before its lease ends')
      t.comment(`from resign() to onElected of the next, ${where}: ${said(times)}`)
    }
  })
})

/** How long it takes from one leader's resignation until the other leads, so many times. */
async function handOvers(urls: readonly [string, string], rounds: number): Promise<number[]> {
  const name = `handed over ${urls.join()}`
  const stopping = new AbortController()
  const elected: { readonly at: number; readonly leadership: Leadership }[] = []
  const clients = urls.map((url) => new HttpLocks({ url }))
  const campaigns = clients.map((client) =>
    client.elect(name, {
      ttlSeconds: 60,
      signal: stopping.signal,
      onElected: async (leadership) => {
        elected.push({ at: performance.now(), leadership })
        await new Promise((resolve) => leadership.signal.addEventListener('abort', resolve))
      }
    })
  )
  const times: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const leader = await eventually('a leader', () => Promise.resolve(elected[round]))
    await eventually('the other one waits', async () => (await clients[0]?.queue(name))?.totalWaiters === 1 || undefined)
    const since = performance.now()
    await leader.leadership.resign()
    times.push((await eventually('the next leader', () => Promise.resolve(elected[round + 1]))).at - since)
  }
  stopping.abort()
  await Promise.all(campaigns)
  return times
}
