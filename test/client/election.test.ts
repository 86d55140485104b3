import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { systemClock, type HttpLocks, type Leadership } from '../../src/client/index.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

/** A candidate whose leaderships end when the test says so. */
class Candidate {
  readonly terms: Leadership[] = []
  readonly ended: Promise<unknown>
  readonly #stopping = new AbortController()
  #finish: () => void = () => undefined
  #fail: (error: Error) => void = () => undefined

  constructor(locks: HttpLocks, processId: string, options: { readonly once?: boolean; readonly value?: unknown } = {}) {
    const onElected = async (leadership: Leadership): Promise<void> => {
      this.terms.push(leadership)
      await new Promise<void>((resolve, reject) => {
        this.#finish = resolve
        this.#fail = reject
        leadership.signal.addEventListener('abort', () => reject(leadership.signal.reason as Error))
      })
    }
    this.ended = locks.elect('leader', { processId, onElected, signal: this.#stopping.signal, ...options })
  }

  /** Resolves to its so manyth term. */
  async leads(terms = 1): Promise<Leadership> {
    await eventually('it leads', () => Promise.resolve(this.terms.length >= terms || undefined))
    return this.terms[terms - 1] as Leadership
  }

  finish(): void {
    this.#finish()
  }

  fail(error: Error): void {
    this.#fail(error)
  }

  stop(): Promise<unknown> {
    this.#stopping.abort(new Error('the test is over'))
    return this.ended
  }
}

onEachClient(t, 'one candidate leads at a time, each with a larger number, in the order of the queue', async (t, { connect, locks }) => {
  const one = new Candidate(locks, 'one', { value: 'http://one' })
  const first = await one.leads()
  const two = new Candidate(connect(), 'two')
  await eventually('the other one waits', async () => ((await locks.queue('leader')).totalWaiters === 1 ? true : undefined))
  t.match(await locks.status('leader'), { lockedBy: 'one', metadata: { value: 'http://one' } })
  await first.resign()
  t.ok(first.signal.aborted)
  const second = await two.leads()
  t.ok(second.fencingToken > first.fencingToken)
  await eventually('the first one campaigns again', async () => ((await locks.queue('leader')).waiters[0]?.processId === 'one' ? true : undefined))
  two.finish()
  const third = await one.leads(2)
  t.ok(third.fencingToken > second.fencingToken && second.signal.aborted, 'work that returns is over')
  t.strictSame([await one.stop(), await two.leads(2).then(() => two.stop())], [undefined, undefined], 'both calls resolve')
  t.ok(third.signal.aborted)
  t.match(await locks.status('leader'), { isLocked: false })
})

onEachClient(t, 'a leader that was deposed hears of it, and campaigns again', async (t, { locks, connect, advance }) => {
  const one = new Candidate(locks, 'one')
  const first = await one.leads()
  await connect().forceRelease('leader', 'maintenance')
  await t.rejects(first.proclaim('still me'), { name: 'LockLostError' })
  t.ok(first.signal.aborted)
  const second = await one.leads(2)
  t.ok(second.fencingToken > first.fencingToken)
  // Without an answer the lease runs out by the client's own count.
  await advance(20_000)
  t.notOk(second.lock.held)
  await one.leads(3)
  await one.stop()
})

onEachClient(t, 'a leader that kept its timers from firing still is told that it no longer leads', async (t, { locks, clock }) => {
  const one = new Candidate(locks, 'one')
  const { signal, lock } = await one.leads()
  const late = clock.now() + 9000
  t.equal(signal.aborted, false)
  clock.now = () => late
  t.equal(signal.aborted, true)
  t.throws(() => signal.throwIfAborted(), { name: 'LockLostError', reason: 'unconfirmed' })
  t.equal(signal.reason, lock.loss)
  await one.stop()
})

onEachClient(t, 'a candidate takes up what it was granted by a call whose answer never came', async (t, { api, connect, proxy, clock, advance }) => {
  for (const isOver of [false, true]) {
    const held = proxy.hold('answers')
    const one = new Candidate(connect({ retrySeconds: 1, timeoutSeconds: 1, listen: false }), 'one')
    await held
    // More than one call gives up.
    for (let step = 0; step < 40; step += 1) {
      clock.advance(100)
      await sleep(5)
    }
    const granted = await api.get<{ data: { lock_id: number } }>('/locks/status', { resource_name: 'leader' })
    // The grant has ended, or goes on for as long as the test does not move the database's clock.
    if (isOver) await advance(20_000)
    proxy.cut()
    const { fencingToken, lock } = await clock.drive(one.leads())
    t.ok(isOver ? fencingToken > granted.body.data.lock_id : fencingToken === granted.body.data.lock_id)
    t.equal(lock.held, true)
    await one.stop()
  }
})

onEachClient(t, 'work that fails ends the campaign and the leadership; a campaign may be for one term', async (t, { locks, connect }) => {
  const failing = new Candidate(locks, 'one')
  await failing.leads()
  failing.fail(new Error('no disk'))
  await t.rejects(failing.ended, { message: 'no disk' })
  const single = new Candidate(connect(), 'two', { once: true })
  await single.leads()
  single.finish()
  t.equal(await single.ended, undefined)
  t.match(await locks.status('leader'), { isLocked: false })
  await t.rejects(locks.elect('', { onElected: () => undefined }), { name: 'LockRequestError', status: 422 })
})

onEachClient(t, 'an observer sees the present leader, each change, its value, and that there is none', async (t, { locks, connect, proxy }) => {
  const stopping = new AbortController()
  const seen = connect({ clock: systemClock(), timeoutSeconds: 1 }).observe('leader', { signal: stopping.signal })
  const next = async () => (await seen.next()).value
  t.equal(await next(), undefined, 'nobody leads yet')
  const one = new Candidate(locks, 'one', { value: 1 })
  const { fencingToken, proclaim } = await one.leads()
  t.strictSame(await next(), { leader: 'one', fencingToken, value: 1 })
  const proclaimed = next()
  await proclaim({ ready: true })
  proxy.cut()
  t.match(await proclaimed, { leader: 'one', fencingToken, value: { ready: true } })
  await one.stop()
  t.equal(await next(), undefined)
  const rest = seen.next()
  stopping.abort()
  t.strictSame(await rest, { value: undefined, done: true }, 'it ends without an error')
})
