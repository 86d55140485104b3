import t from 'tap'
import { onAbort } from '../../src/client/clock.js'
import { systemClock } from '../../src/client/index.js'

void t.test('a machine that slept counts its sleep; a clock that drifts a little counts nothing', (t) => {
  let monotonic = 0
  let wall = 1_700_000_000_000
  const clock = systemClock(() => monotonic, () => wall)
  const pass = (monotonicMs: number, wallMs: number): number => {
    monotonic += monotonicMs
    wall += wallMs
    return clock.now()
  }
  t.equal(pass(500, 500), 500)
  t.equal(pass(100, 3_600_100), 3_600_600, 'an hour of sleep')
  t.equal(pass(100, 100), 3_600_700)
  t.equal(pass(100, -7_200_000), 3_600_800, 'set back by two hours')
  t.equal(pass(100, 100), 3_600_900)
  t.equal(pass(100, 700), 3_601_000, 'a little drift')
  t.equal(pass(100, 900), 3_601_100 + 1400, 'which adds up to something')
  t.end()
})

void t.test('a timer fires once, and not after it was cancelled', async (t) => {
  const clock = systemClock()
  let fired = 0
  const cancel = clock.schedule(0, () => (fired += 100), true)
  cancel()
  await new Promise<void>((resolve) => clock.schedule(1, () => {
    fired += 1
    resolve()
  }))
  t.equal(fired, 1)
})

void t.test('a timer for longer than the platform can count does not fire at once', async (t) => {
  const clock = systemClock()
  let fired = false
  const cancel = clock.schedule(2 ** 31, () => (fired = true), true)
  await new Promise<void>((resolve) => clock.schedule(30, resolve))
  t.equal(fired, false)
  cancel()
})

void t.test('a wall clock that is set forward or back changes nothing', (t) => {
  const clock = systemClock()
  const before = clock.now()
  const real = Date.now
  t.teardown(() => (Date.now = real))
  for (const hours of [1, -3]) {
    Date.now = () => real() + hours * 3_600_000
    const began = performance.now()
    // The clock that counts sleep is looked at every ten milliseconds.
    while (performance.now() < began + 20);
    t.ok(clock.now() - before < 600_000)
  }
  t.end()
})

void t.test('many may listen to one signal, each for its own sake', (t) => {
  const controller = new AbortController()
  const warnings: Error[] = []
  const warned = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  const heard: number[] = []
  const forget = Array.from({ length: 30 }, (_, index) => onAbort(controller.signal, () => heard.push(index)))
  for (const one of forget.slice(2)) one()
  controller.abort()
  t.strictSame(heard, [0, 1])
  setImmediate(() => {
    t.strictSame(warnings, [])
    t.end()
  })
})
