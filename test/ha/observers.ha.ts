import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { HttpLocks } from '../../src/client/index.js'
import { eventually } from '../support/eventually.js'
import { Random } from '../support/random.js'
import { Cluster } from '../torture/cluster.js'
import { readOptions } from '../torture/options.js'

/* `TAP_TIMEOUT=0 OBSERVER_ROUNDS=100 node dist/test/ha/observers.ha.js` is the longer proof. */

const ROUNDS = Number(process.env['OBSERVER_ROUNDS'] ?? 12)
const SEED = Number(process.env['OBSERVER_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const NAME = 'scheduler'
const WAIT_SECONDS = 2

/** From when to when, by this process's clock. */
interface Span {
  readonly from: number
  readonly to: number
}

/** What one observer has seen, each state once: a term, or 0 while nobody leads. */
interface Observer {
  readonly what: string
  readonly seen: number[]
  /** Looks that were answered. */
  readonly looks: Span[]
}

/** Observes by the client, on one instance. */
function byClient(what: string, url: string, signal: AbortSignal): Observer {
  const observer: Observer = { what, seen: [], looks: [] }
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const from = performance.now()
    const response = await globalThis.fetch(input, init)
    const answered = new Response(await response.text(), response)
    if (answered.ok) observer.looks.push({ from, to: performance.now() })
    return answered
  }
  void (async () => {
    for await (const state of new HttpLocks({ url, fetch, timeoutSeconds: 4 }).observe(NAME, { signal })) observer.seen.push(state?.fencingToken ?? 0)
  })()
  return observer
}

/** Observes as docs/api.md says, with any instance that answers. */
function byHttp(what: string, urls: readonly string[], random: Random, signal: AbortSignal): Observer {
  const observer: Observer = { what, seen: [], looks: [] }
  void (async () => {
    for (let change = ''; !signal.aborted; ) {
      const from = performance.now()
      try {
        const response = await fetch(`${random.pick(urls)}/locks/status?resource_name=${NAME}${change}`, { signal: AbortSignal.any([signal, AbortSignal.timeout(4000)]) })
        const { data } = (await response.json()) as { data?: { lock_id: number | null; kept?: true } }
        if (response.status !== 200 || data === undefined) throw new Error(String(response.status))
        observer.looks.push({ from, to: performance.now() })
        const term = data.kept === true ? 0 : (data.lock_id ?? 0)
        if (observer.seen.at(-1) !== term) observer.seen.push(term)
        change = `&unlike_lock_id=${term}&wait_seconds=${WAIT_SECONDS}`
      } catch {
        await sleep(50)
      }
    }
  })()
  return observer
}

/** A time during which one term, or none, was surely what the database had. */
interface Stretch extends Span {
  readonly term: number
}

/** What an observer should have seen: every stretch into which a whole look falls, in order; and nothing twice or backwards. */
function faultsOf({ what, seen, looks }: Observer, stretches: readonly Stretch[]): string[] {
  const terms = seen.filter((term) => term > 0)
  const backwards = terms.flatMap((term, index) => (term <= (terms[index - 1] ?? 0) ? [`${what} saw ${term} after ${terms[index - 1]}`] : []))
  const unknown = terms.filter((term) => !stretches.some((stretch) => stretch.term === term)).map((term) => `${what} saw ${term}, which nobody led`)
  let next = 0
  const missed = stretches.flatMap(({ term, from, to }) => {
    if (!looks.some((look) => look.from >= from && look.to <= to)) return []
    const found = seen.indexOf(term, next)
    if (found < 0) return [`${what} missed ${term}`]
    next = term === 0 ? found : found + 1
    return []
  })
  return [...backwards, ...unknown, ...missed]
}

void t.test('the check finds what is missed, seen twice, and made up', (t) => {
  const stretches = [{ term: 1, from: 0, to: 10 }, { term: 0, from: 11, to: 20 }, { term: 5, from: 21, to: 30 }]
  const looks = [{ from: 2, to: 4 }, { from: 12, to: 15 }, { from: 22, to: 24 }]
  const faults = (seen: number[]) => faultsOf({ what: 'it', seen, looks }, stretches)
  t.same(faults([0, 1, 0, 5]), [])
  t.same(faults([1, 5]), ['it missed 0'])
  t.same(faults([1, 0]), ['it missed 5'])
  t.same(faults([1, 0, 1, 5]), ['it saw 1 after 1'])
  t.same(faults([1, 0, 3, 5]), ['it saw 3, which nobody led'])
  t.same(faultsOf({ what: 'it', seen: [1, 5], looks: looks.filter(({ from }) => from !== 12) }, stretches), [], 'nobody looked while nobody led')
  t.end()
})

void t.test(`observers while instances and PostgreSQL are killed, seed ${SEED}`, { timeout: 0 }, async (t) => {
  const random = new Random(SEED)
  await using cluster = await Cluster.start(readOptions(['--instances', '2']), random)
  const { victim, nodes } = cluster
  if (!('crash' in victim)) throw new Error('PostgreSQL is asked for')
  const stopping = new AbortController()
  const urls = nodes.map(({ url }) => url)
  const observers = [
    ...urls.map((url, index) => byClient(`the client at instance ${index + 1}`, url, stopping.signal)),
    byHttp('HTTP at any instance', urls, new Random(SEED + 1), stopping.signal),
    byHttp('HTTP at instance 1', urls.slice(0, 1), new Random(SEED + 2), stopping.signal)
  ]
  const all = (what: string, term: number) => eventually(what, () => Promise.resolve(observers.every(({ seen }) => seen.at(-1) === term) || undefined))

  const killed = { instances: 0, postgres: 0 }
  const enough = new AbortController()
  const killing = (async () => {
    for (; !enough.signal.aborted; await sleep(random.whole(200, 1200))) {
      if (random.chance(0.3)) {
        await victim.crash(random.whole(0, 300))
        killed.postgres += 1
      } else {
        const node = random.pick(nodes)
        await node.stop('SIGKILL')
        await sleep(random.whole(0, 500))
        await node.start()
        killed.instances += 1
      }
    }
  })()

  const stretches: Stretch[] = []
  await using faults = {
    async end() {
      enough.abort()
      await killing
    },
    // Before the cluster goes, also where something fails.
    async [Symbol.asyncDispose]() {
      stopping.abort()
      await faults.end()
    }
  }
  for (let round = 0; round < ROUNDS || killed.instances < 2 || killed.postgres < 2; round += 1) {
    // Each at an instance, and insisting on it however long that is away.
    const locks = new HttpLocks({ url: random.pick(urls), processId: `leader-${round}`, retrySeconds: 600, listen: false })
    const lock = await locks.acquire(NAME, { ttlSeconds: 300, autoRenew: false, metadata: { value: round } })
    const from = performance.now()
    // Each of both at least once.
    if (round === 0 || random.chance(0.4)) await all(`all see term ${lock.fencingToken}`, lock.fencingToken)
    else await sleep(random.next() * 300)
    stretches.push({ term: lock.fencingToken, from, to: performance.now() })
    // Kept, it is led by nobody either.
    const keepSeconds = round > 0 && random.chance(0.3) ? 0.3 : 0
    await lock.release(keepSeconds > 0 ? { keepSeconds } : {})
    const freeAt = performance.now()
    if (round === 0 || (keepSeconds === 0 && random.chance(0.4))) await all('all see that nobody leads', 0)
    stretches.push({ term: 0, from: freeAt, to: performance.now() })
  }
  await faults.end()
  const last = await new HttpLocks({ url: urls[0], retrySeconds: 600 }).acquire(NAME, { ttlSeconds: 300 })
  const from = performance.now()
  await all('all see the last leader', last.fencingToken)
  stretches.push({ term: last.fencingToken, from, to: performance.now() })
  stopping.abort()
  await last.release()
  for (const observer of observers) t.same(faultsOf(observer, stretches), [])
  const looks = observers.reduce((sum, observer) => sum + observer.looks.length, 0)
  t.comment(`${stretches.length} states, ${killed.instances} instances and ${killed.postgres} times PostgreSQL killed; ${observers.map(({ what, seen }) => `${what}: ${seen.length}`).join(', ')}; ${looks} looks`)
})
