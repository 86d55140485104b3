import { LockRequestError, LockServiceUnavailableError, LockWatchEndedError, type ForceReleaseOutcome, type HttpLocks, type LockEvent, type RevokeOutcome, type Stats } from '../../client/index.js'
import { Figures } from './figures.js'
import { ListReader, pause, visible } from './list-reader.js'
import { LockTable } from './lock-table.js'

/**
 * - `connecting`: the service has not replied yet.
 * - `live`: every event arrives as it happens.
 * - `polling`: the list is read again and again, but no events arrive in between.
 * - `lost`: the service has not replied since `since`; what is shown is as old.
 * - `refused`: the service replies, but shows this page nothing, see {@link Access}; what is shown is as old.
 */
export type Connection =
  | { readonly kind: 'connecting' | 'live' | 'polling' }
  | { readonly kind: 'lost' | 'refused'; readonly since: number | null; readonly why: string }

/** `key-refused`: the service does not know the key that was sent. `key-too-weak`: it may not read. */
export type Access = 'open' | 'key-needed' | 'key-refused' | 'key-too-weak'

const STATS_EVERY_MS = 2000
/** How soon after an event the page changes: many events then cost one change. */
const CHANGE_MS = 100
/** How soon to watch again after the watching has ended … */
const WATCH_AGAIN_MS = 2000
/** … and where the service keeps no history, without which there is nothing to watch. */
const NO_HISTORY_MS = 60_000

const KEY_NAME = 'resource-lock-manager-key'

/** The API key that the user entered: kept for this tab until it is closed, and nowhere else. */
export const keyring = {
  get: (): string | null => sessionStorage.getItem(KEY_NAME),
  set: (key: string): void => sessionStorage.setItem(KEY_NAME, key),
  forget: (): void => sessionStorage.removeItem(KEY_NAME)
}

/** `fetch` with the key of this moment, in a header and never in an address. */
export async function fetchWithKey(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  const key = keyring.get()
  if (key !== null) headers.set('authorization', `Bearer ${key}`)
  return await fetch(input, { ...init, headers, cache: 'no-store', credentials: 'omit' })
}

/** Why a call failed, as a sentence without its full stop. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof LockRequestError || error instanceof LockServiceUnavailableError)) return 'The answer cannot be read'
  const { status = 0, detail } = error
  if (status < 300) return 'The service cannot be reached'
  return typeof detail === 'string' ? detail : `The service answered ${status}`
}

/** Everything that the page shows, kept up to date. */
export class Live {
  readonly table = new LockTable()
  figures = new Figures()
  /** The database, and what this page's key may do, as the service told last. */
  about: Pick<Stats, 'database' | 'key'> | undefined
  connection: Connection = { kind: 'connecting' }
  access: Access = 'open'
  /** How often the service refused a key, or required one. */
  refusals = 0
  /** False where the key lacks the scope for a force-release, as the service told or by its refusal showed. */
  mayForce = true
  /** How often the page has started to read, which it does again with each key. */
  runs = 0
  /** Whether the whole list has been read. */
  ready = false
  readonly #locks: HttpLocks
  readonly #hasKey: () => boolean
  readonly #list: ListReader
  readonly #listeners = new Set<() => void>()
  readonly #eventListeners = new Set<(event: LockEvent) => void>()
  #offsetMs = 0
  #watching = false
  #heardAt: number | null = null
  #changing = false
  #running = new AbortController()

  constructor(locks: HttpLocks, hasKey: () => boolean) {
    this.#locks = locks
    this.#hasKey = hasKey
    this.#list = new ListReader(locks, this.table, {
      onPage: (offsetMs) => {
        this.#offsetMs = offsetMs
        this.#changed()
      },
      onWhole: () => {
        this.ready = true
        this.#heard()
      },
      onFailed: (error) => this.#failed(error)
    })
  }

  /** The database's clock in milliseconds since 1970, as far as it is known. It stands still while what is shown gets no newer. */
  now(): number {
    const isStale = this.connection.kind === 'lost' || this.connection.kind === 'refused'
    return (isStale ? (this.#heardAt ?? Date.now()) : Date.now()) + this.#offsetMs
  }

  /** Whether the page knows what is not locked: the whole list has been read, and the service still answers. */
  get known(): boolean {
    return this.ready && this.connection.kind !== 'lost' && this.connection.kind !== 'refused'
  }

  /** Calls `listener` after changes. @returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls `listener` with every event. @returns what ends that. */
  onEvent(listener: (event: LockEvent) => void): () => void {
    this.#eventListeners.add(listener)
    return () => this.#eventListeners.delete(listener)
  }

  /** Starts, or starts again with another key. */
  start(): void {
    this.#running.abort()
    this.#running = new AbortController()
    // What was read with one key is not for the next.
    this.table.clear()
    this.figures = new Figures()
    this.about = undefined
    this.ready = false
    this.runs += 1
    this.access = 'open'
    this.mayForce = true
    this.connection = { kind: 'connecting' }
    this.#heardAt = null
    this.#watching = false
    const { signal } = this.#running
    void this.#watch(signal)
    void this.#list.run(signal)
    void this.#readStats(signal)
    this.#changed()
  }

  /**
   * Ends exactly that grant of another process. Rejects as the client's calls do.
   *
   * @param graceSeconds after which it ends, as its holder is told; null ends it at once.
   */
  async end(name: string, lockId: number, reason: string, graceSeconds: number | null): Promise<ForceReleaseOutcome | RevokeOutcome> {
    try {
      return await (graceSeconds === null ? this.#locks.forceRelease(name, reason, { lockId }) : this.#locks.revoke(name, reason, { lockId, graceSeconds }))
    } catch (error) {
      if (error instanceof LockRequestError && error.status === 403) this.mayForce = false
      if (error instanceof LockRequestError && error.status === 401) this.#failed(error)
      throw error
    } finally {
      this.#list.refresh()
      this.#changed()
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let resumed = false
      const onOpen = (): void => {
        this.#watching = true
        this.#heard()
        if (!resumed) this.#list.refresh()
        resumed = true
      }
      let why: unknown
      try {
        for await (const event of this.#locks.watch({ signal, onOpen, onBroken: (error) => this.#broken(error) })) this.#happened(event, signal)
      } catch (error) {
        why = error
      }
      if (signal.aborted) return
      this.#broken(why)
      await pause(why instanceof LockWatchEndedError && why.reason === 'no_history' ? NO_HISTORY_MS : WATCH_AGAIN_MS, signal)
    }
  }

  #happened(event: LockEvent, signal: AbortSignal): void {
    this.#heard()
    const isNews = this.table.apply(event)
    // Events do not say how long a lock lasts.
    if (isNews && ['granted', 'renewed', 'converted', 'revoked'].includes(event.event)) this.#list.want(event.resourceName, signal)
    for (const listener of this.#eventListeners) listener(event)
    this.#changed()
  }

  /** A stream that breaks says nothing about the service; one that cannot be opened does. */
  #broken(error: unknown): void {
    const wasOpen = this.#watching
    this.#watching = false
    if (!wasOpen && !(error instanceof LockWatchEndedError)) this.#failed(error)
    else if (this.connection.kind === 'live') this.#become({ kind: 'polling' })
  }

  async #readStats(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const stats = await this.#locks.stats({ signal }).catch(() => undefined)
      if (!signal.aborted) {
        this.figures.add(stats, Date.now())
        if (stats !== undefined) this.#learn(stats)
      }
      this.#changed()
      await pause(STATS_EVERY_MS, signal)
      await visible(signal)
    }
  }

  #learn({ database, key }: Stats): void {
    this.about = { database, key }
    this.mayForce &&= key?.scopes.includes('admin') ?? true
  }

  #heard(): void {
    this.#heardAt = Date.now()
    if (this.access === 'open') this.#become({ kind: this.#watching ? 'live' : 'polling' })
  }

  #failed(error: unknown): void {
    const status = error instanceof LockRequestError ? error.status : undefined
    const isRefused = status === 401 || status === 403
    if (isRefused) {
      this.refusals += 1
      this.access = status === 403 ? 'key-too-weak' : this.#hasKey() ? 'key-refused' : 'key-needed'
      this.#running.abort()
    }
    this.#become({ kind: isRefused ? 'refused' : 'lost', since: this.#heardAt, why: reasonOf(error) })
  }

  #become(connection: Connection): void {
    // While it stays lost, only the time of the last reply matters.
    if (connection.kind === 'lost' && this.connection.kind === 'lost' && connection.since === this.connection.since) return
    // Calls that were under way end after the refusal.
    if (this.connection.kind === 'refused' && this.access !== 'open') return
    this.connection = connection
    this.#changed()
  }

  #changed(): void {
    if (this.#changing) return
    this.#changing = true
    setTimeout(() => {
      this.#changing = false
      for (const listener of this.#listeners) listener()
    }, CHANGE_MS)
  }
}
