import type { WebLockOptions, WebLocks } from '../../src/client/index.js'

/*
 * What the Web Locks API promises (W3C, Web Locks API, sections 3 to 5), as parts with the trace that each must leave. Every part gets names of its
 * own. A browser runs them over `navigator.locks` too.
 */

export type Manager = Pick<WebLocks, 'request' | 'query'>

interface Part {
  readonly title: string
  readonly run: (locks: Manager, log: (line: string) => void) => Promise<unknown>
  readonly trace: readonly string[]
}

/** A promise and what settles it. */
export function gate(): { readonly open: () => void; readonly opened: Promise<void> } {
  const resolvers: (() => void)[] = []
  const opened = new Promise<void>((resolve) => void resolvers.push(resolve))
  return { open: () => resolvers[0]?.(), opened }
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

const nameOf = (error: unknown): string => (error instanceof Error || error instanceof DOMException ? error.name : String(error))

/** Logs how a request ends. */
function end(log: (line: string) => void, what: string, request: Promise<unknown>): Promise<void> {
  return request.then(
    (value) => log(`${what} -> ${String(value)}`),
    (error: unknown) => log(`${what} !! ${nameOf(error)}`)
  )
}

/** Holds a lock until it is let go. */
async function hold(locks: Manager, name: string, options: WebLockOptions = {}): Promise<() => Promise<void>> {
  const { open, opened } = gate()
  const granted = gate()
  const request = locks.request(name, options, async () => {
    granted.open()
    await opened
  })
  await Promise.race([granted.opened, request])
  return async () => {
    open()
    await request
  }
}

const refused = (given: readonly unknown[]) => async (locks: Manager, log: (line: string) => void) => {
  const request = locks.request.bind(locks) as (...args: unknown[]) => Promise<unknown>
  let promise: Promise<unknown>
  try {
    promise = request(...given)
  } catch {
    return log('thrown')
  }
  await end(log, 'refused', promise)
}

const work = (): string => 'ran'
const REFUSALS: readonly (readonly [title: string, given: readonly unknown[], error: string])[] = [
  ['no argument', [], 'TypeError'],
  ['no callback', ['n'], 'TypeError'],
  ['a callback that is none', ['n', {}], 'TypeError'],
  ['options without a callback', ['n', {}, undefined], 'TypeError'],
  ['options that are no object', ['n', 5, work], 'TypeError'],
  ['an unknown mode', ['n', { mode: 'other' }, work], 'TypeError'],
  ['a signal that is none', ['n', { signal: {} }, work], 'TypeError'],
  ['a signal that is null', ['n', { signal: null }, work], 'TypeError'],
  ['a name that is a symbol', [Symbol('n'), work], 'TypeError'],
  ['a reserved name', ['-n', work], 'NotSupportedError'],
  ['a reserved name, before the signal is looked at', ['-n', { signal: AbortSignal.abort() }, work], 'NotSupportedError'],
  ['steal with ifAvailable', ['n', { steal: true, ifAvailable: true }, work], 'NotSupportedError'],
  ['steal of a shared lock', ['n', { steal: true, mode: 'shared' }, work], 'NotSupportedError'],
  ['steal with a signal', ['n', { steal: true, signal: new AbortController().signal }, work], 'NotSupportedError'],
  ['ifAvailable with a signal, though it has fired', ['n', { ifAvailable: true, signal: AbortSignal.abort() }, work], 'NotSupportedError'],
  ['a signal that has fired', ['n', { signal: AbortSignal.abort() }, work], 'AbortError'],
  ['a signal that has fired for a reason of its own', ['n', { signal: AbortSignal.abort('why') }, work], 'why']
]

export const PARTS: readonly Part[] = [
  ...REFUSALS.map(([title, given, error]) => ({ title: `it rejects ${title}`, run: refused(given), trace: [`refused !! ${error}`] })),
  {
    title: 'what the callback gives is the result, an error too, and the lock is free afterwards',
    run: async (locks, log) => {
      await end(log, 'value', locks.request('r', (lock) => `${lock?.name} ${lock?.mode}`))
      await end(log, 'promise', locks.request('r', async () => turn().then(() => 'later')))
      await end(log, 'null', locks.request('r', null as unknown as WebLockOptions, () => 'null is no option'))
      await end(log, 'throw', locks.request('r', () => {
        throw new RangeError('thrown')
      }))
      await end(log, 'reject', locks.request('r', async () => Promise.reject(new RangeError('rejected'))))
      await end(log, 'free', locks.request('r', { ifAvailable: true }, (lock) => lock !== null))
    },
    trace: ['value -> r exclusive', 'promise -> later', 'null -> null is no option', 'throw !! RangeError', 'reject !! RangeError', 'free -> true']
  },
  {
    title: 'the callback is called later, and requests for a name are granted in their order, one after another',
    run: async (locks, log) => {
      const all = [1, 2, 3].map((index) =>
        end(log, `o${index}`, locks.request('o', async () => {
          log(`o${index} granted`)
          await turn()
          log(`o${index} ends`)
          return index
        }))
      )
      log('requested')
      await Promise.all(all)
    },
    trace: ['requested', ...[1, 2, 3].flatMap((index) => [`o${index} granted`, `o${index} ends`, `o${index} -> ${index}`])]
  },
  {
    title: 'other names do not wait, not even inside of a callback',
    run: (locks, log) =>
      locks.request('p', async () => {
        await end(log, 'inner', locks.request('q', () => 'granted'))
        log('outer')
      }),
    trace: ['inner -> granted', 'outer']
  },
  {
    title: 'shared locks are held together, and none passes an exclusive request that waits',
    run: async (locks, log) => {
      const all = gate()
      const shared = (what: string, opens: boolean) =>
        locks.request('s', { mode: 'shared' }, async (lock) => {
          log(`${what} ${lock?.mode}`)
          if (opens) all.open()
          await all.opened
        })
      const first = shared('s1', false)
      const second = shared('s2', true)
      const writer = locks.request('s', (lock) => log(`writer ${lock?.mode}`))
      const third = shared('s3', false)
      await Promise.all([first, second, writer, third])
    },
    trace: ['s1 shared', 's2 shared', 'writer exclusive', 's3 shared']
  },
  {
    title: 'ifAvailable calls back with null where the lock is held, or is waited for',
    run: async (locks, log) => {
      const seen = (what: string, mode: 'exclusive' | 'shared') => end(log, what, locks.request('i', { ifAvailable: true, mode }, (lock) => lock?.mode ?? 'null'))
      await seen('free', 'exclusive')
      const release = await hold(locks, 'i', { mode: 'shared' })
      await seen('beside a shared one', 'shared')
      await seen('beside a shared one', 'exclusive')
      const waits = end(log, 'writer', locks.request('i', () => 'granted'))
      await seen('while one waits', 'shared')
      await release()
      await waits
    },
    trace: ['free -> exclusive', 'beside a shared one -> shared', 'beside a shared one -> null', 'while one waits -> null', 'writer -> granted']
  },
  {
    title: 'a signal ends the wait, and those behind move up',
    run: async (locks, log) => {
      const release = await hold(locks, 'w')
      const [first, second] = [new AbortController(), new AbortController()]
      const waits = [
        end(log, 'first', locks.request('w', { signal: first.signal }, work)),
        end(log, 'second', locks.request('w', { signal: second.signal }, work)),
        end(log, 'third', locks.request('w', work))
      ]
      second.abort('changed my mind')
      await waits[1]
      first.abort()
      await waits[0]
      await release()
      await waits[2]
    },
    trace: ['second !! changed my mind', 'first !! AbortError', 'third -> ran']
  },
  {
    title: 'a signal is of no concern once the lock is held',
    run: (locks, log) => {
      const stop = new AbortController()
      return end(log, 'held', locks.request('g', { signal: stop.signal }, async () => {
        stop.abort()
        await turn()
        return 'ran'
      }))
    },
    trace: ['held -> ran']
  },
  {
    title: 'a steal ends every lock of the name and passes those that wait; the callback of who was robbed goes on',
    run: async (locks, log) => {
      const robbed = gate()
      const granted = gate()
      const victim = end(log, 'victim', locks.request('t', async () => {
        granted.open()
        await robbed.opened
        log('the victim goes on')
      }))
      await granted.opened
      const waits = end(log, 'waiter', locks.request('t', work))
      const { open, opened } = gate()
      const thief = end(log, 'thief', locks.request('t', { steal: true }, async (lock) => {
        // Browsers differ in who hears of it first.
        await victim
        log(`stolen ${lock?.mode}`)
        robbed.open()
        await opened
        return 'done'
      }))
      await robbed.opened
      await end(log, 'another', locks.request('t2', () => 'ran meanwhile'))
      open()
      await Promise.all([thief, waits])
    },
    trace: ['victim !! AbortError', 'stolen exclusive', 'the victim goes on', 'another -> ran meanwhile', 'thief -> done', 'waiter -> ran']
  },
  {
    title: 'a free lock can be stolen too',
    run: (locks, log) => end(log, 'thief', locks.request('f', { steal: true }, work)),
    trace: ['thief -> ran']
  },
  {
    title: 'query shows who holds and who waits',
    run: async (locks, log) => {
      const releases = [await hold(locks, 'y', { mode: 'shared' }), await hold(locks, 'y', { mode: 'shared' }), await hold(locks, 'z')]
      const waits = [locks.request('y', () => undefined), locks.request('y', { mode: 'shared' }, () => undefined)]
      const { held, pending } = await locks.query()
      const mine = (list: typeof held) => list.filter(({ name }) => 'yz'.includes(name)).map(({ name, mode }) => `${name} ${mode}`).toSorted()
      log(`held ${mine(held).join()}`)
      log(`pending ${pending.map(({ name, mode }) => `${name} ${mode}`).join()}`)
      log(`${new Set([...held, ...pending].filter(({ name }) => 'yz'.includes(name)).map(({ clientId }) => clientId)).size} client`)
      for (const release of releases) await release()
      await Promise.all(waits)
    },
    trace: ['held y shared,y shared,z exclusive', 'pending y exclusive,y shared', '1 client']
  },
  ...(
    [
      ['an empty text', ''],
      ['control characters', 'a\0\n'],
      ['text that is not normalised', 'e\u0301'],
      ['half a character', '\ud800x'],
      ['a very long text', 'x'.repeat(300)],
      ['a backslash in front', String.raw`\#00`],
      ['text of any script', 'Ünïcödé 日本語 😀']
    ] as const
  ).map(([title, name]): Part => ({
    title: `${title} is a name`,
    run: async (locks, log) => {
      const release = await hold(locks, name)
      await end(log, 'the same', locks.request(name, { ifAvailable: true }, (lock) => lock === null))
      await end(log, 'another', locks.request(`${name}!`, { ifAvailable: true }, (lock) => lock?.name === `${name}!`))
      const { held } = await locks.query()
      // Chromium replaces it there.
      if (name.isWellFormed()) log(`listed: ${held.some((lock) => lock.name === name)}`)
      await release()
      await end(log, 'free', locks.request(name, (lock) => lock?.name === name))
    },
    trace: ['the same -> true', 'another -> true', ...(name.isWellFormed() ? ['listed: true'] : []), 'free -> true']
  }))
]
