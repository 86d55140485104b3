import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Service, type Answer } from '../support/service.js'
import { Session } from '../support/session.js'

/** They go on until so many sets were granted, on each database. */
const ENOUGH = Number(process.env['SOAK_SETS'] ?? 200)
const PROCESSES = 50
const NAMES = Array.from({ length: 12 }, (_, index) => `name/${index}`)

if (process.env['SOAK_SETS'] !== undefined) t.setTimeout(0)

for (const kind of DATABASES) {
  void t.test(`${PROCESSES} processes that lock overlapping sets of names at random on ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    const settings = { DATABASE_URL: database.url }
    await using first = await Service.start({ settings })
    await using second = kind === 'postgres' ? await Service.start({ settings }) : null
    await using third = kind === 'postgres' ? await Service.start({ settings }) : null
    const services = [first, second ?? first, third ?? first]
    const ledger = new Ledger()
    const workers = Array.from({ length: PROCESSES }, async (_, index) => {
      for (let round = index; ledger.granted < ENOUGH; round += 1) await ledger.work(services[round % 3] ?? first, `process/${index}`)
    })
    await Promise.all(workers)
    t.same(ledger.faults, [], 'no set was held in part, no lock twice, and numbers grew')
    t.same(ledger.counters, ledger.increments, 'no counter was incremented by two at once')
    t.ok(ledger.refused > 0, `${ledger.granted} sets were granted, ${ledger.refused} refused`)
    t.match(await first.call('GET', '/locks/all-locked'), { status: 200, body: { data: { total_locks: 0 } } })
    for (const name of NAMES) t.match(await first.status(name), { body: { data: { is_locked: false, waiters: 0 } } })
    if (kind === 'postgres') await countDeadlocks(t, database.url)
  })
}

async function countDeadlocks(t: Test, url: string): Promise<void> {
  await using session = await Session.open(url)
  t.match(await session.run('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
}

/** What the processes do under their locks, and what they should never see. */
class Ledger {
  readonly counters = new Map<string, number>()
  readonly increments = new Map<string, number>()
  readonly faults: string[] = []
  granted = 0
  refused = 0
  readonly #holders = new Map<string, string>()
  readonly #numbers = new Map<string, number>()

  /** Asks for a set in random order, waiting or not; increments the counters of what it was granted, and releases it. */
  async work(service: Service, process: string): Promise<void> {
    const names = NAMES.toSorted(() => Math.random() - 0.5).slice(0, 1 + Math.floor(Math.random() * 4))
    const waits = Math.random() < 0.5 ? { wait_seconds: Math.random() * 2 } : {}
    const answer = await service.call('POST', '/locks/request-many', { resource_names: names, process_id: process, ttl_seconds: 60, ...waits })
    if (answer.status === 409) {
      this.refused += 1
      if (Math.random() < 0.1) await this.#holdsNothing(service, process)
      else await sleep(Math.random() * 5)
      return
    }
    if (answer.status !== 200) return this.#fault(process, answer)
    this.granted += 1
    this.#enter(process, names, answer)
    await Promise.all(names.map((name) => this.#increment(name)))
    for (const name of names) this.#holders.delete(name)
    await this.#release(service, process, names)
  }

  #enter(process: string, names: readonly string[], answer: Answer): void {
    const locks = answer.body.data?.['locks'] as { resource_name: string; lock_id: number }[]
    if (locks.map(({ resource_name }) => resource_name).join() !== names.join()) this.#fault(process, answer)
    for (const { resource_name: name, lock_id } of locks) {
      const holder = this.#holders.get(name)
      if (holder !== undefined) this.faults.push(`${process} was granted ${name} while ${holder} held it`)
      if (lock_id <= (this.#numbers.get(name) ?? 0)) this.faults.push(`${process} was granted ${name} with the number ${lock_id}`)
      this.#holders.set(name, process)
      this.#numbers.set(name, lock_id)
    }
  }

  /** Reads, and writes after a while: only a lock keeps two that do so at once from losing a count. */
  async #increment(name: string): Promise<void> {
    const before = this.counters.get(name) ?? 0
    await sleep(Math.random() * 4)
    this.counters.set(name, before + 1)
    this.increments.set(name, (this.increments.get(name) ?? 0) + 1)
  }

  async #release(service: Service, process: string, names: readonly string[]): Promise<void> {
    const answer =
      Math.random() < 0.5
        ? await service.call('POST', '/locks/release-many', { resource_names: names, process_id: process })
        : await service.call('DELETE', `/locks/release-all?${new URLSearchParams({ process_id: process }).toString()}`)
    const { released, total_released: total } = answer.body.data ?? {}
    const ended = Array.isArray(released) ? released.length : Number(total)
    if (answer.status !== 200 || ended !== names.length) this.#fault(process, answer)
  }

  async #holdsNothing(service: Service, process: string): Promise<void> {
    const answer = await service.call('GET', `/locks/all-locked?${new URLSearchParams({ process_id: process }).toString()}`)
    if (answer.body.data?.['total_locks'] !== 0) this.#fault(process, answer)
  }

  #fault(process: string, { status, body }: Answer): void {
    this.faults.push(`${process}: ${status} ${JSON.stringify(body)}`)
  }
}
