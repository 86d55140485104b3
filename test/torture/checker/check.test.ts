import t from 'tap'
import { check, prepared } from './check.js'
import { decide } from './decided.js'
import { groupBy } from './group-by.js'
import { judge } from './linearizability.js'
import type { Flaw } from './simulated.js'
import { Simulation } from './simulation.js'

const EXACT = { clocksMs: 0 }
const STEPS = 400
const SEEDS = 50

void t.test('histories of a service that keeps its promises are accepted', (t) => {
  let operations = 0
  let unknown = 0
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const history = new Simulation(seed).run(STEPS)
    const { violations, lost, undecided } = check(history, EXACT)
    if (violations.length + lost.length + undecided > 0) t.fail(`seed ${seed}: ${violations.join('\n')}\nlost: ${lost.join()}`)
    operations += history.operations.length
    unknown += history.operations.filter(({ answer }) => answer.kind === 'unknown').length
  }
  t.ok(unknown > operations / 20, `${operations} operations, ${unknown} of them without an answer`)
  t.end()
})

void t.test("the service's own history decides as the search does", (t) => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { operations, events } = new Simulation(seed).run(STEPS)
    for (const [resource, some] of groupBy(prepared(operations), ({ resource }) => resource)) {
      const decided = decide(some, events.filter((event) => event.resource === resource), EXACT)
      const verdict = judge(decided, EXACT)
      if (verdict.kind !== 'linearizable') t.fail(`seed ${seed}, ${resource}: ${JSON.stringify(verdict)}`)
    }
  }
  t.end()
})

/** Every way to be wrong that the simulation knows; a new one does not compile before it stands here. */
const FLAWS: Readonly<Record<Flaw, RegExp>> = {
  'grants over a valid lock': /no order explains|two grants at once/,
  'draws numbers that do not grow': /numbers do not grow/,
  'forgets an acknowledged grant': /no order explains/,
  'forgets an acknowledged release': /no order explains/,
  'releases for anybody': /no order explains/,
  'renews after the end': /no order explains/,
  'grants a repetition once more': /no order explains|requests were granted/,
  'counts a lease from the call': /outside of the call/,
  'reports an ended lock': /no order explains/,
  'grants a part': /was granted only a part|no order explains/,
  'serves the last in line first': /whose place was seen/,
  'leaves no trace': /it speaks of a grant that has ended/,
  'forgets the limits of the holders': /no order explains|permits of \d+ are taken|two grants at once/,
  'counts a heavy grant as one': /no order explains|permits of \d+ are taken/,
  'gives a slot twice': /no order explains/,
  'keeps the permits of ended shares': /no order explains/,
  'names too few holders': /no order explains/,
  'upgrades beside others': /no order explains|two grants at once/,
  'upgrades with the same number': /numbers do not grow|no order explains/,
  'downgrades with a new number': /no order explains/,
  'frees at once what is to be kept': /no order explains/,
  'forgets a lock delay': /no order explains/,
  'renews past a revocation': /no order explains|its lease is not the one/
}

for (const [flaw, found] of Object.entries(FLAWS)) {
  void t.test(`a service that ${flaw} is found out`, (t) => {
    let seed = 0
    const all: string[] = []
    do {
      seed += 1
      all.push(...check(new Simulation(seed, flaw as Flaw).run(STEPS), EXACT).violations)
    } while (!all.some((violation) => found.test(violation)) && seed < 30)
    t.ok(all.some((violation) => found.test(violation)), `found with seed ${seed}`)
    t.end()
  })
}
