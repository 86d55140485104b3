import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { EpochMs } from './lock.js'

/** What a key allows: reading, acquiring and releasing, taking locks away from others. `admin` includes the other two. */
export type Scope = 'read' | 'write' | 'admin'

export const SCOPES: readonly Scope[] = ['read', 'write', 'admin']

/** A key without its secret. */
export interface ApiKey {
  readonly id: number
  /** Keys of one name replace each other: a grant made with one belongs to all of them. See {@link faultOfKeyName}. */
  readonly name: string
  /** At least one, in the order of {@link SCOPES}. */
  readonly scopes: readonly Scope[]
  /** Only resources whose names begin with this text; empty for all. */
  readonly prefix: string
}

/** A key as a list shows it. */
export interface KeyEntry extends ApiKey {
  readonly createdAt: EpochMs
  /** The first instant at which it is no longer valid; null never comes. */
  readonly expiresAt: EpochMs | null
  readonly revokedAt: EpochMs | null
  /** At the database's clock, just now. */
  readonly state: 'live' | 'expired' | 'revoked'
}

/** Lets people and secret scanners recognise a key. */
const BEGINNING = 'rlm_'

/** 256 random bits, in a form that needs no quoting. */
export function newSecret(): string {
  return BEGINNING + randomBytes(32).toString('base64url')
}

/**
 * What is stored of a key: its SHA-256, in hexadecimal digits. Nobody can try 2^256 keys, so it needs no salt and no slow
 * hash, and can be looked up by its digest.
 */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/

/** What is wrong with the name of a key, as the end of a sentence, or undefined. A name is never a number: numbers are ids. */
export function faultOfKeyName(name: string): string | undefined {
  return NAME.test(name) ? undefined : 'should begin with a letter and have at most 64 letters, digits, dots, dashes and underscores'
}

/** Whether a key with those scopes may make a call that needs this one. */
export function allows({ scopes }: Pick<ApiKey, 'scopes'>, scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin')
}

export interface NewKey extends Omit<ApiKey, 'id'> {
  /** See {@link digestOf}. */
  readonly digest: string
  /** How long it is valid, in milliseconds, at least 1; null has no end. */
  readonly validForMs: number | null
}

export interface LiveKey extends ApiKey {
  readonly digest: string
}

export interface KeysInUse {
  /** Whether any key was ever made, be it revoked or expired: from then on callers need one. */
  readonly any: boolean
  /** Those that are neither revoked nor expired, by the database's clock. */
  readonly live: readonly LiveKey[]
}

/** The port to the keys in the database, which all instances on it share. Every rejection is a LockError, unless it is a bug. */
export interface KeyStore {
  /** Resolves once the key is durable. */
  create(key: NewKey): Promise<KeyEntry>

  /** All keys that were ever made, oldest first. */
  list(): Promise<readonly KeyEntry[]>

  /** Ends a key; false where there is no such key or it was revoked before. */
  revoke(id: number): Promise<boolean>

  inUse(): Promise<KeysInUse>
}

/** How long another instance's new or revoked key may go unnoticed here, in milliseconds, beside the time of one query. */
export const REFRESH_MS = 1000

/** A valid key that a caller sent. */
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
  /** Called when the keys cannot be read any more; those that were read last stay in force until they can. */
  readonly onError: (error: unknown) => void
}

/**
 * The live keys in memory, so that no request queries the database for its key. They are read again every second: within
 * that time all instances notice a key that was made, revoked or has expired.
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
   * Whether any key was ever made, so that callers need one. When the last key expires or is revoked, the service stays
   * closed to callers without a key.
   */
  get keysExist(): boolean {
    return this.#keysExist
  }

  /** Fires when the first key has been made: from now on every caller needs one. */
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

  /** Reads the keys every second from now on. */
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

  /** Reports once for each time that the database is away. */
  #failed(error: unknown): void {
    if (!this.#failing) this.#options.onError(error)
    this.#failing = true
  }
}

function entryOf({ digest, id, name, scopes, prefix }: LiveKey): Entry {
  const end = new AbortController()
  // Every request that waits or watches with the key listens.
  setMaxListeners(0, end.signal)
  return { key: { id, name, scopes, prefix, ended: end.signal }, digest: Buffer.from(digest), end }
}

/** The previous entry, unless the key's rights have changed. */
function sameAs(entry: Entry | undefined, { id, name, scopes, prefix }: LiveKey): Entry | undefined {
  if (entry === undefined) return undefined
  const { key } = entry
  return key.id === id && key.name === name && key.prefix === prefix && key.scopes.join() === scopes.join() ? entry : undefined
}
