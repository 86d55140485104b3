import t from 'tap'
import type { ResourceName } from '../../src/locks/lock.js'
import { LIST_LIMIT, type LockEvent } from '../../src/locks/store.js'
import { Sweeper } from '../../src/locks/cleanup.js'
import { openStore } from '../../src/storage/index.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase, type DatabaseName, type TestDatabase } from '../support/databases.js'
import { type Bench, NAMES, type Row, type Scene, type Step, type Turn } from './table.js'
import { ROWS } from './steps.js'
import { Model } from './model.js'
import { Random } from '../support/random.js'

/*
 * Random steps on a real store, each answer compared with a model in memory. A short run by default;
 * `MODEL_STEPS=1000000 npm run model` makes so many, MODEL_DATABASE=sqlite on one database only, and MODEL_SEED=… draws the
 * steps of an earlier run again. What runs at the same time may still take turns differently. Two instances never contend for
 * one name here: nobody could tell the model which of them came first.
 */
const SHORT: Record<DatabaseName, number> = { sqlite: 20_000, postgres: 2500 }
const INSTANCES: Record<DatabaseName, number> = { sqlite: 1, postgres: 2 }
const REPORT_EVERY_MS = 30_000
const MOST_TOLD = 4000
/** How many steps go beside another one, at most. The largest bursts take several batches. */
const BURSTS = [{ weight: 75, most: 0 }, { weight: 24.5, most: 12 }, { weight: 0.5, most: 600 }]
const TURNS: readonly Turn[] = ['first', 'in order', 'last']
/** Longer than any run lasts by the moved clock, so that the whole history is there to be read. */
const KEEP_HISTORY_MS = 1000 * 365 * 86_400_000

const { MODEL_STEPS, MODEL_SEED, MODEL_DATABASE } = process.env
// Without tap's runner, that is, which has a time limit of its own.
if (MODEL_STEPS !== undefined) t.setTimeout(0)
const seed = MODEL_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(MODEL_SEED)

for (const kind of DATABASES.filter((name) => name === (MODEL_DATABASE ?? name))) {
  const steps = MODEL_STEPS === undefined ? SHORT[kind] : Number(MODEL_STEPS)
  void t.test(`${kind} answers ${steps} random steps as the model does (MODEL_SEED=${seed})`, { timeout: 0 }, async (t) => {
    const began = Date.now()
    const fault = await firstFault(kind, steps)
    if (fault === undefined) t.comment(`${kind}: ${Math.round(steps / ((Date.now() - began) / 1000))} steps/s, seed ${seed}`)
    t.equal(fault, undefined)
  })
}

async function firstFault(kind: DatabaseName, steps: number): Promise<string | undefined> {
  const random = new Random(seed)
  const model = new Model(START)
  const scene: Scene = { random, model, focus: NAMES, instance: 0, names: NAMES, overlapping: false, marked: [], claims: new Map() }
  await using database = await freshDatabase(kind)
  await using bench = new StoreBench(database, INSTANCES[kind], random)
  await bench.reopen()
  const recent: string[] = []
  let reported = Date.now()
  for (let done = 0; done < steps;) {
    const round = drawRound(scene, kind)
    const described = round.map(({ kind, command }) => `${kind} ${JSON.stringify(command)}`)
    recent.push(described.join(' | ').slice(0, MOST_TOLD))
    if (recent.length > 8) recent.shift()
    const fault = await play(round, model, bench)
    if (fault !== undefined) {
      return `after ${done} steps: ${fault}\nthe last rounds, sweeper ${bench.sweeping ? 'running' : 'off'}:\n${recent.join('\n')}`
    }
    done += round.length
    if (Date.now() - reported > REPORT_EVERY_MS) {
      reported = Date.now()
      process.stderr.write(`${kind}: ${done} of ${steps} steps\n`)
    }
  }
  return model.faultOfHistory(await bench.reopen())
}

/** Submits the steps of one round in one turn, and judges the answers in their order. */
async function play(round: readonly Step[], model: Model, bench: StoreBench): Promise<string | undefined> {
  const sweeping = bench.sweeping
  const answered = await Promise.all(
    round.map((step) => step.run(bench).then((done) => ({ ...done, step }), (error: unknown) => ({ error, step })))
  )
  const concurrent = round.length > 1 || sweeping
  model.begin(sweeping)
  for (const one of TURNS.flatMap((turn) => answered.filter(({ step }) => step.judged === turn))) {
    const { kind, command } = one.step
    const what = `${kind} ${JSON.stringify(command)}`
    if ('error' in one) return `${what} failed with ${String(one.error)}`
    const fault = one.judge(model, concurrent)
    if (fault !== undefined) return `${what}: ${fault}\nthe answers to that round:\n${answered.map(inWords).join('\n')}`
  }
  return bench.sweepFault
}

function inWords(one: { readonly step: Step; readonly answer?: unknown; readonly error?: unknown }): string {
  const { kind, command } = one.step
  return `${kind} ${JSON.stringify(command)} => ${JSON.stringify(one.answer) ?? String(one.error)}`.slice(0, MOST_TOLD)
}

/** One step, or a burst: about all names or few of them, small or larger than one batch of the store. */
function drawRound(scene: Scene, kind: DatabaseName): Step[] {
  const { random } = scene
  if (random.chance(0.3)) scene.focus = random.chance(0.5) ? NAMES : [random.pick(NAMES), random.pick(NAMES)]
  const mayAccompany = ({ alone }: Row): boolean => alone === 'never' || (alone === 'where steps overlap' && kind === 'sqlite')
  const row = random.weighted(ROWS)
  const beside = mayAccompany(row) ? random.weighted(BURSTS).most : 0
  const company = ROWS.filter(mayAccompany)
  const others = Array.from({ length: random.whole(Math.ceil(beside / 10), beside) }, () => random.weighted(company))
  scene.overlapping = others.length > 0 && kind !== 'sqlite'
  scene.claims.clear()
  const shares = Array.from({ length: INSTANCES[kind] }, (_, instance) => ({ instance, names: [] as ResourceName[] }))
  for (const name of new Set(scene.focus)) random.pick(shares).names.push(name)
  return [row, ...others].map((one) => one.draw(Object.assign(scene, random.pick(shares.filter(({ names }) => names.length > 0)))))
}

/** As many instances as the database takes; in some stretches each has a sweeper that never rests, in others it has none. */
class StoreBench implements Bench, AsyncDisposable {
  readonly #database: TestDatabase
  readonly #instances: number
  readonly #random: Random
  #stores: readonly SqlLockStore[] = []
  #sweepers: readonly Sweeper[] = []
  #sweepFault: string | undefined
  #lastEvent = 0

  constructor(database: TestDatabase, instances: number, random: Random) {
    this.#database = database
    this.#instances = instances
    this.#random = random
  }

  get sweeping(): boolean {
    return this.#sweepers.length > 0
  }

  get sweepFault(): string | undefined {
    return this.#sweepFault
  }

  setClock(at: number): Promise<void> {
    return this.#database.setClock(at)
  }

  store(instance: number): SqlLockStore {
    const store = this.#stores[instance]
    if (store === undefined) throw new Error('nothing is open')
    return store
  }

  async reopen(): Promise<readonly LockEvent[]> {
    await this[Symbol.asyncDispose]()
    const { url: databaseUrl, now: clock } = this.#database
    const open = Array.from({ length: this.#instances }, () => openStore({ databaseUrl, clock, keepHistoryMs: KEEP_HISTORY_MS }))
    this.#stores = await Promise.all(open)
    const events = await this.#newEvents()
    const onError = (error: unknown): void => void (this.#sweepFault ??= `a sweep failed with ${String(error)}`)
    this.#sweepers = this.#random.chance(0.3) ? this.#stores.map((store) => new Sweeper(store, { intervalMs: 1, onError })) : []
    for (const sweeper of this.#sweepers) sweeper.start()
    return events
  }

  async #newEvents(): Promise<readonly LockEvent[]> {
    const all: LockEvent[] = []
    for (let more = true; more;) {
      const page = await this.store(0).reads.eventsAfter(this.#lastEvent, LIST_LIMIT)
      all.push(...page.events)
      more = page.more
      this.#lastEvent = all.at(-1)?.eventId ?? this.#lastEvent
    }
    return all
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const closing of [...this.#sweepers, ...this.#stores]) await closing[Symbol.asyncDispose]()
    this.#sweepers = []
    this.#stores = []
  }
}
