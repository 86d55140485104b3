import t from 'tap'
import { torture } from './torture.js'
import { DATABASES } from '../support/databases.js'

/*
 * A short slice of what `npm run torture` does for as long as one likes, on a PostgreSQL server of its own, since that is
 * killed. Which seed it was stands in the title, for `npm run torture -- --seed …`.
 */
const SECONDS = 4

/** On a machine that is slow they take longer than that. */
const LEAST_GRANTS = 40

// Side by side, since they wait for the most part.
t.jobs = DATABASES.length

const seed = Math.floor(Math.random() * 2 ** 31)

for (const database of DATABASES) {
  void t.test(`what clients see while everything is killed and cut off has an order: ${database}, seed ${seed}`, async (t) => {
    const instances = database === 'sqlite' ? 1 : 3
    const figures = await torture({ database, instances, seed, minutes: (2 * SECONDS) / 60, clients: 12, thinkMs: 25, epochSeconds: SECONDS, leastGrants: LEAST_GRANTS })
    t.same(figures.violations, [])
    t.same(figures.lost, [])
    t.equal(figures.undecided, 0)
    t.ok(figures.beside.streams > 0 && figures.beside.events > 0, figures.progress)
  })
}
