import t from 'tap'
import type { Sharing } from '../../src/locks/lock.js'
import { START } from '../../scripts/database-templates.js'
import { acquire, convert, enqueue, force, inspect, release, renew, revoke, sweep } from '../support/commands.js'
import { DATABASES } from '../support/databases.js'
import { Random } from '../support/random.js'
import { instances, onEachStore } from '../support/store.js'
import { SharesModel } from './shares-model.js'

const STEPS = { sqlite: 1500, postgres: 400 }
const NAMES = ['a', 'b', 'c']
const PROCESSES = ['p', 'q', 'r', 's', 'u']
const TTLS = [null, 40, 100, 400]

function drawSharing(random: Random): Sharing | null {
  const limit = random.pick([null, 1, 2, 3, 3, 5])
  return random.chance(0.2) ? null : { limit, permits: limit === null || random.chance(0.6) ? 1 : random.whole(1, limit) }
}

function some<Item>(random: Random, items: readonly Item[]): Item | undefined {
  return items.length === 0 ? undefined : random.pick(items)
}

for (const kind of DATABASES) {
  void t.test(`shares, one step after the other, are what the rule says: ${kind}`, async (t) => {
    await onEachStore(t, kind)('random steps', async (t, store, database) => {
      await using at = await instances(kind, store, database)
      const random = new Random(Number(process.env['MODEL_SEED'] ?? 7))
      const model = new SharesModel(START)
      /** Those that wait, with what they ask for. */
      const waiting = new Map<number, ReturnType<typeof drawAcquire>>()
      const drawAcquire = () => {
        const names = random.chance(0.15) ? ['a', 'c'] : [random.pick(NAMES)]
        const terms = { holdAtLeastMs: random.pick([0, 30, 90]), lockDelayMs: random.pick([0, 0, 50]) }
        return { ...acquire(names, random.pick(PROCESSES), random.pick(TTLS)), sharing: names.map(() => drawSharing(random)), ...(random.chance(0.25) ? { terms } : {}) }
      }
      const steps: Record<string, () => Promise<string | undefined>> = {
        async acquire() {
          const command = drawAcquire()
          return model.faultOfAcquire(command, await here.submit(command))
        },
        async again() {
          const [ticket, command] = some(random, [...waiting]) ?? []
          if (ticket === undefined || command === undefined) return undefined
          const outcome = await here.submit({ ...command, ticket })
          if (outcome.kind === 'granted') waiting.delete(ticket)
          return model.faultOfAcquire({ ...command, ticket }, outcome)
        },
        async queueUp() {
          if (waiting.size > 3) return undefined
          const command = drawAcquire()
          const { ticket } = await here.submit({ ...enqueue([...command.resourceNames], command.processId), sharing: command.sharing })
          for (const [index, name] of command.resourceNames.entries()) model.queueUp(name, { ticket: ticket ?? 0, process: command.processId, sharing: command.sharing[index] ?? null })
          waiting.set(ticket ?? 0, command)
          return undefined
        },
        async leave() {
          const [ticket] = some(random, [...waiting]) ?? []
          if (ticket === undefined) return undefined
          await here.submit({ kind: 'dequeue', tickets: [ticket], keepFor: null })
          waiting.delete(ticket)
          model.leave(ticket)
          return undefined
        },
        async release() {
          const name = random.pick(NAMES)
          const held = some(random, model.holders(name))
          const command = release(name, random.chance(0.8) ? (held?.process ?? 'p') : random.pick(PROCESSES), random.chance(0.7) ? null : (held?.lockId ?? 1))
          const kept = random.chance(0.3) ? { ...command, keepMs: random.pick([20, 80]) } : command
          return model.faultOfRelease(kept, await here.submit(kept))
        },
        async force() {
          const name = random.pick(NAMES)
          const command = { ...force(name, 'why', random.chance(0.5) ? null : (some(random, model.holders(name))?.lockId ?? 1)), freesAtOnce: random.chance(0.3) }
          return model.faultOfRelease(command, await here.submit(command))
        },
        async renew() {
          const name = random.pick(NAMES)
          const command = renew(name, some(random, model.holders(name))?.process ?? random.pick(PROCESSES), random.chance(0.2) ? undefined : random.pick(TTLS))
          return model.faultOfRenew(command, await here.submit(command))
        },
        async revoke() {
          const name = random.pick(NAMES)
          const command = revoke(name, random.pick([0, 30, 200]), random.chance(0.6) ? null : (some(random, model.holders(name))?.lockId ?? 1))
          return model.faultOfRevoke(command, await here.submit(command))
        },
        async convert() {
          const name = random.pick(NAMES)
          const command = convert(name, some(random, model.holders(name))?.process ?? random.pick(PROCESSES), drawSharing(random))
          return model.faultOfConvert(command, await here.submit(command))
        },
        async inspect() {
          const name = random.pick(NAMES)
          return model.faultOfInspect(name, await here.submit(inspect(name)))
        },
        async sweep() {
          await here.submit(sweep)
          return undefined
        },
        async wait() {
          const ms = random.pick([1, 20, 60, 700_000])
          await database.advance(ms)
          model.now += ms
          // A queue without a living instance is nobody's; the store's own clock would have sent a heartbeat.
          if (kind === 'postgres') for (const turn of [0, 1]) await at.at(turn).submit({ kind: 'heartbeat' })
          return undefined
        }
      }
      const weighted = Object.entries({ acquire: 30, again: 12, queueUp: 5, leave: 3, release: 16, force: 2, renew: 8, revoke: 3, convert: 8, inspect: 6, sweep: 3, wait: 6 }).flatMap(([step, weight]) => Array.from({ length: weight }, () => step))
      let here = store
      for (let step = 0; step < STEPS[kind]; step += 1) {
        const what = random.pick(weighted)
        here = at.at(random.whole(0, 1))
        const fault = await steps[what]?.()
        t.equal(fault, undefined, `step ${step}, ${what}`)
        if (fault !== undefined) return
      }
    })
  })
}
