import type { LockMode } from './answers.js'
import { onAbort } from './clock.js'
import { type LockLostError, LockServiceUnavailableError } from './errors.js'
import { HeldLock } from './held-lock.js'
import type { HttpLocks } from './http-locks.js'

/* What `navigator.locks` is between the tabs of one browser (W3C, Web Locks API), between machines. */

export interface WebLockOptions {
  /** `exclusive` if left out. */
  readonly mode?: LockMode
  /** Calls back with null where the lock cannot be had at once. */
  readonly ifAvailable?: boolean
  /** Takes the lock away from its holders, past everybody who waits. The key of the client needs the scope `admin`. */
  readonly steal?: boolean
  /** Ends the wait; of no concern once the lock is held. */
  readonly signal?: AbortSignal
}

/** A lock as the callback gets it. `signal` and `fencingToken` are more than a browser's has. */
export class WebLock {
  declare readonly name: string
  declare readonly mode: LockMode
  /** Fires when the lock is lost or stolen; the request rejects afterwards. */
  declare readonly signal: AbortSignal
  /** For the resource that the lock protects, which then can refuse smaller ones. */
  declare readonly fencingToken: number

  constructor(name: string, mode: LockMode, { signal, fencingToken }: HeldLock) {
    Object.assign(this, { name, mode, signal, fencingToken })
  }
}

export interface WebLockInfo {
  name: string
  mode: LockMode
  /** The client that requested it: the `processId` of its HttpLocks. */
  clientId: string
}

export interface WebLocksSnapshot {
  held: WebLockInfo[]
  pending: WebLockInfo[]
}

type Callback<Result> = (lock: WebLock | null) => PromiseLike<Result> | Result

interface Request {
  readonly name: string
  readonly resourceName: string
  readonly options: Required<Omit<WebLockOptions, 'signal'>> & Pick<WebLockOptions, 'signal'>
  readonly callback: (lock: WebLock | null) => unknown
  /** Says that the request has its place in the queue, or its lock: the next one of this client may be sent. */
  readonly entered: () => void
  /** Resolves when the caller has its result. */
  readonly settled: Promise<void>
}

const LONGEST_NAME = 255
const LONGEST_METADATA_BYTES = 4096
/** Locks that are held for so long are listened for. */
const LISTEN_AFTER_MS = 1000

/** No two requests of one process have the same number, whatever client they are made by. */
let lastRequest = 0

/**
 * The Web Locks API over a lock service: a `LockManager` for code that was written for `navigator.locks`.
 *
 * Every request is a holder of its own, `CLIENT/N`, for which the lock renews itself until the promise of the callback settles. Requests that one client
 * makes for a name are granted in their order. A lock whose lease is lost counts as stolen: its request rejects with an `AbortError`. A service that is
 * away is what no browser has: the request rejects with a LockServiceUnavailableError.
 */
export class WebLocks {
  readonly #locks: HttpLocks
  readonly #prefix: string
  /** By resource, the last request that is on its way to its place. */
  readonly #entering = new Map<string, Promise<unknown>>()
  readonly #releasing = new Map<string, Promise<unknown>>()
  readonly #held = new Set<HeldLock>()
  /** The names that the service knows only by a digest. */
  readonly #longNames = new Map<string, string>()
  #listening: AbortController | undefined

  /** @param options `prefix` stands before every name at the service, for a key with a prefix or to keep apart from other locks. */
  constructor(locks: HttpLocks, { prefix = '' }: { readonly prefix?: string } = {}) {
    // It listens for all of its locks together.
    this.#locks = locks.with({ listen: false })
    this.#prefix = prefix
  }

  /**
   * Calls back when the lock is granted, and holds it until what the callback returns has settled; that is also the result.
   *
   * @throws NotSupportedError, as a DOMException, for options that exclude each other; the signal's reason when it fires before the grant; AbortError when the
   * lock is lost or stolen before the callback has settled.
   */
  request<Result>(name: string, callback: Callback<Result>): Promise<Result>
  request<Result>(name: string, options: WebLockOptions, callback: Callback<Result>): Promise<Result>
  request(...given: unknown[]): Promise<unknown> {
    const { promise: settled, resolve } = deferred()
    const request = this.#request(given, settled)
    request.then(resolve, resolve)
    return request
  }

  async #request(given: readonly unknown[], settled: Promise<void>): Promise<unknown> {
    if (given.length < 2) throw new TypeError(`request takes a name and a callback, but got ${given.length} arguments`)
    const name = textOf(given[0])
    const options = optionsIn(given.length > 2 ? given[1] : undefined)
    const callback = given[given.length > 2 ? 2 : 1]
    if (typeof callback !== 'function') throw new TypeError('The callback is not a function')
    const { mode, ifAvailable, steal, signal } = options
    if (name.startsWith('-')) throw notSupported('Names that begin with - are reserved')
    if (steal && ifAvailable) throw notSupported('steal and ifAvailable exclude each other')
    if (steal && mode !== 'exclusive') throw notSupported('Only an exclusive lock can be stolen')
    if (signal && (steal || ifAvailable)) throw notSupported('A request with steal or ifAvailable does not wait, and takes no signal')
    signal?.throwIfAborted()

    const resourceName = this.#resourceOf(name)
    const before = this.#entering.get(resourceName)
    const { promise, resolve: entered } = deferred()
    const entering = Promise.all([before, promise]).then(() => {
      if (this.#entering.get(resourceName) === entering) this.#entering.delete(resourceName)
    })
    this.#entering.set(resourceName, entering)
    try {
      await unlessAborted(before, signal)
      return await this.#grant({ name, resourceName, options, callback: callback as Request['callback'], entered, settled })
    } finally {
      entered()
    }
  }

  /** Who holds and who waits for locks, of all clients, as soon as every earlier request of this one counts. */
  async query(): Promise<WebLocksSnapshot> {
    await Promise.all(this.#entering.values())
    const prefix = this.#prefix
    const held: WebLockInfo[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await this.#locks.list({ prefix, ...(cursor === undefined ? {} : { cursor }) })
      for (const { resourceName, processId, metadata, mode = 'exclusive' } of page.locks) held.push(this.#infoOf(resourceName, processId, mode, metadata?.['name']))
      cursor = page.nextCursor
    }
    const { waiters } = await this.#locks.queues(prefix, { limit: 1000 })
    return { held, pending: waiters.map(({ resourceName, processId, mode = 'exclusive' }) => this.#infoOf(resourceName, processId, mode)) }
  }

  async #grant(request: Request): Promise<unknown> {
    const { name, resourceName, options, callback, entered, settled } = request
    const held = await this.#acquire(request)
    entered()
    if (!held) return callback(null)
    // Here it is known at once; other clients hear of it from the service.
    if (options.steal) for (const other of this.#held) if (other.resourceName === resourceName) HeldLock.lose(other, 'released')
    // The holder before in this client gets its result before the next one begins.
    await this.#releasing.get(resourceName)
    this.#held.add(held)
    this.#listenLater(held)
    try {
      return await this.#work(held, settled, () => callback(new WebLock(name, options.mode, held)))
    } finally {
      this.#held.delete(held)
      if (this.#held.size === 0) this.#listening?.abort()
    }
  }

  async #acquire({ name, resourceName, options: { mode, ifAvailable, steal, signal }, entered }: Request): Promise<HeldLock | undefined> {
    const metadata = this.#longNames.has(resourceName) && JSON.stringify({ name }).length * 3 < LONGEST_METADATA_BYTES ? { name } : undefined
    lastRequest += 1
    const wanted = { processId: `${this.#locks.processId}/${lastRequest}`, metadata, ...(mode === 'shared' && { mode }) }
    if (ifAvailable) return this.#locks.tryAcquire(resourceName, wanted)
    // It is granted at once, past holders and waiters.
    if (steal) return this.#locks.acquire(resourceName, { ...wanted, waitSeconds: 0, steal })
    return this.#locks.acquire(resourceName, { ...wanted, signal, onWaiting: entered })
  }

  /** Releases the lock when the work has settled, or settles without it when the lock is lost. */
  async #work(held: HeldLock, settled: Promise<void>, work: () => unknown): Promise<unknown> {
    const { resourceName } = held
    const working = (async () => work())()
    const loss = await Promise.race([held.lost, working.then(() => undefined, () => undefined)])
    if (loss) throw stolenBy(loss)
    const releasing = Promise.all([this.#releasing.get(resourceName), settled]).then(() => {
      if (this.#releasing.get(resourceName) === releasing) this.#releasing.delete(resourceName)
    })
    this.#releasing.set(resourceName, releasing)
    const error: unknown = await held.release().then(() => undefined, (reason: unknown) => reason)
    if (held.loss) throw stolenBy(held.loss)
    // While the service is away, the lock ends with its lease; it was held to the end of the work.
    if (error !== undefined && !(error instanceof LockServiceUnavailableError)) throw error
    return working
  }

  /** One stream for all locks tells of those that are stolen. */
  #listenLater(held: HeldLock): void {
    const timer = setTimeout(() => {
      if (!held.held || this.#listening) return
      this.#listening = new AbortController()
      void this.#listen(this.#listening.signal).finally(() => (this.#listening = undefined))
    }, LISTEN_AFTER_MS)
    void held.lost.then(() => clearTimeout(timer))
  }

  async #listen(signal: AbortSignal): Promise<void> {
    // What happened before is found out by a renewal.
    const onOpen = (): void => {
      for (const held of this.#held) held.renew().catch(() => {})
    }
    try {
      for await (const { event, resourceName, lockId } of this.#locks.watch({ processPrefix: `${this.#locks.processId}/`, signal, onOpen })) {
        if (event !== 'force_released' && event !== 'expired') continue
        for (const held of this.#held) if (held.lockId === lockId && held.resourceName === resourceName) HeldLock.lose(held, event === 'expired' ? 'expired' : 'released')
      }
    } catch {
      // Without the scope to read, or a history, renewals notice a loss.
    }
  }

  #infoOf(resourceName: string, processId: string, mode: LockMode, name?: unknown): WebLockInfo {
    const end = processId.lastIndexOf('/')
    return { name: this.#nameOf(resourceName, name), mode, clientId: end < 0 ? processId : processId.slice(0, end) }
  }

  /** Any text is a name of a Web Lock; the service takes 1 to 255 characters of Unicode in NFC, without control characters. */
  #resourceOf(name: string): string {
    const most = LONGEST_NAME - Array.from(this.#prefix).length
    const isPlain = name !== '' && !name.startsWith('\\') && name.isWellFormed() && !/\p{Cc}/u.test(name) && name.normalize() === name
    const text = isPlain ? name : `\\${name.replaceAll(/[^ -[\]-~]/g, (unit) => `\\${hex(unit.charCodeAt(0), 4)}`)}`
    if (Array.from(text).length <= most) return this.#prefix + text
    const resourceName = `${this.#prefix}\\#${digestOf(name)}`
    this.#longNames.set(resourceName, name)
    return resourceName
  }

  #nameOf(resourceName: string, longName: unknown): string {
    const text = resourceName.slice(this.#prefix.length)
    if (!text.startsWith('\\')) return text
    if (/^\\#[0-9a-f]{32}$/.test(text)) return typeof longName === 'string' ? longName : (this.#longNames.get(resourceName) ?? text)
    return text.slice(1).replaceAll(/\\([0-9a-f]{4})/g, (_, unit: string) => String.fromCharCode(Number.parseInt(unit, 16)))
  }
}

/** Reads them as Web IDL does: by name, undefined as absent. */
function optionsIn(given: unknown): Request['options'] {
  if (given !== undefined && given !== null && typeof given !== 'object' && typeof given !== 'function') throw new TypeError('The options are not an object')
  const options = (given ?? {}) as Readonly<Record<keyof WebLockOptions, unknown>>
  const ifAvailable = Boolean(options.ifAvailable)
  const mode = options.mode === undefined ? 'exclusive' : textOf(options.mode)
  if (mode !== 'exclusive' && mode !== 'shared') throw new TypeError(`'${mode}' is not a mode: exclusive or shared`)
  const { signal } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError('The signal is not an AbortSignal')
  return { ifAvailable, mode, steal: Boolean(options.steal), ...(signal && { signal }) }
}

/** @throws TypeError for a symbol, as Web IDL has it. */
function textOf(value: unknown): string {
  return String.prototype.concat.call('', value as string)
}

function notSupported(message: string): DOMException {
  return new DOMException(message, 'NotSupportedError')
}

function stolenBy(loss: LockLostError): DOMException {
  return Object.assign(new DOMException(loss.message, 'AbortError'), { cause: loss })
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  const resolvers: (() => void)[] = []
  const promise = new Promise<void>((resolve) => void resolvers.push(resolve))
  return { promise, resolve: () => resolvers[0]?.() }
}

/** Resolves with the promise; rejects as soon as the signal fires. */
function unlessAborted(promise: Promise<unknown> | undefined, signal: AbortSignal | undefined): Promise<unknown> {
  const { promise: aborted, resolve: abort } = deferred()
  const forget = onAbort(signal, abort)
  return Promise.race([promise, aborted.then(() => signal?.throwIfAborted())]).finally(forget)
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

/** FNV-1a, 128 bits. Two names with one digest would only exclude each other. */
function digestOf(name: string): string {
  let digest = 0x6c62272e07bb014262b821756295c58dn
  for (let at = 0; at < name.length; at += 1) digest = BigInt.asUintN(128, (digest ^ BigInt(name.charCodeAt(at))) * 0x1000000000000000000013bn)
  return hex(digest, 32)
}
