import { timingSafeEqual } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { digestOf, type ApiKey } from './api-key.js'
import type { KeyStore, LiveKey } from './key-store.js'

/** How long a key that was made or revoked elsewhere may go unnoticed here, in milliseconds, beside the time of one query. */
export const REFRESH_MS = 1000

/** A key that somebody showed. */
export interface KnownKey extends ApiKey {
  /** Fires when the key is no longer valid. */
  readonly ended: AbortSignal
}

interface Entry {
  readonly key: KnownKey
  readonly digest: Buffer
  readonly end: AbortController
}

export interface ApiKeyCacheOptions {
  /** Told when the keys cannot be read any more; the last ones that were read hold until they can. */
  readonly onError: (error: unknown) => void
}

/**
 * The live keys in memory, so that no request asks the database about its key. They are read anew every second: all
 * instances learn within that time of a key that was made, revoked or has expired.
 */
export class ApiKeyCache implements AsyncDisposable {
  readonly #store: KeyStore
  readonly #options: ApiKeyCacheOptions
  #entries = new Map<string, Entry>()
  #keysExist = false
  readonly #began = new AbortController()
  #failing = false
  #timer: NodeJS.Timeout | undefined
  #refreshing: Promise<void> = Promise.resolve()
  #closed = false

  constructor(store: KeyStore, options: ApiKeyCacheOptions) {
    setMaxListeners(0, this.#began.signal)
    this.#store = store
    this.#options = options
  }

  /**
   * Whether any key was ever made, so that callers need one. A key that expires or is revoked leaves nobody in who was not
   * let in before.
   */
  get keysExist(): boolean {
    return this.#keysExist
  }

  /** Fires when the first key was made: from now on everybody needs one. */
  get began(): AbortSignal {
    return this.#began.signal
  }

  /** The key with that text; undefined where it is unknown, revoked or expired. */
  find(secret: string): KnownKey | undefined {
    const digest = digestOf(secret)
    const entry = this.#entries.get(digest)
    if (entry === undefined || !timingSafeEqual(entry.digest, Buffer.from(digest))) return undefined
    return entry.key
  }

  /** Reads the keys now. Rejects with a LockError when the database is away. */
  async refresh(): Promise<void> {
    const { any, live } = await this.#store.inUse()
    const before = this.#entries
    this.#entries = new Map(live.map((key): [string, Entry] => [key.digest, sameAs(before.get(key.digest), key) ?? entryOf(key)]))
    this.#keysExist = any
    if (any) this.#began.abort()
    for (const [digest, entry] of before) if (this.#entries.get(digest) !== entry) entry.end.abort()
  }

  /** Reads the keys from now on every second. */
  start(): void {
    this.#timer = setTimeout(() => {
      this.#refreshing = this.refresh()
        .then(
          () => (this.#failing = false),
          (error: unknown) => this.#failed(error)
        )
        .then(() => {
          if (!this.#closed) this.start()
        })
    }, REFRESH_MS)
    this.#timer.unref()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#refreshing
  }

  /** Told once for each time that the database is away. */
  #failed(error: unknown): void {
    if (!this.#failing) this.#options.onError(error)
    this.#failing = true
  }
}

function entryOf({ digest, id, name, scopes, prefix }: LiveKey): Entry {
  const end = new AbortController()
  // Everybody who waits or watches with the key listens.
  setMaxListeners(0, end.signal)
  return { key: { id, name, scopes, prefix, ended: end.signal }, digest: Buffer.from(digest), end }
}

/** The entry as it was, unless somebody has changed what the key allows. */
function sameAs(entry: Entry | undefined, { id, name, scopes, prefix }: LiveKey): Entry | undefined {
  if (entry === undefined) return undefined
  const { key } = entry
  return key.id === id && key.name === name && key.prefix === prefix && key.scopes.join() === scopes.join() ? entry : undefined
}
