import { Figures } from '../model/figures.js'
import { LockTable } from '../model/lock-table.js'
import type { WireEvent, WireStats } from '../model/wire.js'
import { ApiError, type Api } from './api.js'
import { ListReader } from './list-reader.js'
import { pause, visible } from './pause.js'
import { watchLocks } from './watch.js'

/**
 * - `connecting`: nothing was heard yet.
 * - `live`: told of everything as it happens.
 * - `polling`: the list is read again and again, but nothing is told in between.
 * - `lost`: nothing was heard since `since`; what is shown is as old.
 */
export type Connection =
  | { readonly kind: 'connecting' | 'live' | 'polling' }
  | { readonly kind: 'lost'; readonly since: number | null; readonly why: string }

/** `key-refused`: a key was sent, and it is none that the service knows. */
export type Access = 'open' | 'key-needed' | 'key-refused'

const STATS_EVERY_MS = 2000
/** How soon after an event the page changes: many events then cost one change. */
const CHANGE_MS = 100

/** Everything that the page shows, kept up to date. */
export class Live {
  readonly table = new LockTable()
  readonly figures = new Figures()
  connection: Connection = { kind: 'connecting' }
  access: Access = 'open'
  /** How often a key was refused, or missed. */
  refusals = 0
  /** False once the service has refused to take a lock away: the key has not the scope for it. */
  mayForce = true
  /** Whether the whole list was read yet. */
  ready = false
  readonly #api: Api
  readonly #hasKey: () => boolean
  readonly #list: ListReader
  readonly #listeners = new Set<() => void>()
  readonly #eventListeners = new Set<(event: WireEvent) => void>()
  #offsetMs = 0
  #watching = false
  #heardAt: number | null = null
  #changing = false
  #running = new AbortController()

  constructor(api: Api, hasKey: () => boolean) {
    this.#api = api
    this.#hasKey = hasKey
    this.#list = new ListReader(api, this.table, {
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

  /** The database's clock in milliseconds since 1970, as far as it is known. */
  now(): number {
    return Date.now() + this.#offsetMs
  }

  /** Calls after changes, until what it returns is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls with everything that is told, until what it returns is called. */
  onEvent(listener: (event: WireEvent) => void): () => void {
    this.#eventListeners.add(listener)
    return () => this.#eventListeners.delete(listener)
  }

  /** Begins, or begins anew with another key. */
  start(): void {
    this.#running.abort()
    this.#running = new AbortController()
    this.access = 'open'
    this.mayForce = true
    const { signal } = this.#running
    void this.#watch(signal)
    void this.#list.run(signal)
    void this.#readStats(signal)
    this.#changed()
  }

  /** Takes a lock away. @throws ApiError when it was refused. */
  async forceRelease(name: string, lockId: number, reason: string): Promise<void> {
    try {
      await this.#api.post('locks/force-release', { resource_name: name, lock_id: lockId, reason })
    } catch (error) {
      if (error instanceof ApiError && error.status === 403) this.mayForce = false
      if (error instanceof ApiError && error.status === 401) this.#failed(error)
      throw error
    } finally {
      this.#list.refresh()
      this.#changed()
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const onOpen = (resumed: boolean): void => {
      this.#watching = true
      this.#heard()
      if (!resumed) this.#list.refresh()
    }
    const onEvent = (event: WireEvent): void => {
      this.#heard()
      const isNews = this.table.apply(event)
      // Events do not say for how long a lock lasts.
      if (isNews && (event.event === 'granted' || event.event === 'renewed')) this.#list.want(event.resource_name, signal)
      for (const listener of this.#eventListeners) listener(event)
      this.#changed()
    }
    const onClosed = (why: unknown): void => {
      this.#watching = false
      if (why instanceof ApiError) this.#failed(why)
      else if (this.connection.kind === 'live') this.#become({ kind: 'polling' })
    }
    await watchLocks(this.#api, { onOpen, onEvent, onClosed }, signal)
  }

  async #readStats(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const stats = await this.#api.get<WireStats>('locks/stats', {}, signal).catch(() => undefined)
      if (!signal.aborted) this.figures.add(stats, Date.now())
      this.#changed()
      await pause(STATS_EVERY_MS, signal)
      await visible(signal)
    }
  }

  #heard(): void {
    this.#heardAt = Date.now()
    if (this.access === 'open') this.#become({ kind: this.#watching ? 'live' : 'polling' })
  }

  #failed(error: unknown): void {
    if (error instanceof ApiError && error.status === 401) {
      this.refusals += 1
      this.access = this.#hasKey() ? 'key-refused' : 'key-needed'
      this.#running.abort()
    }
    this.#become({ kind: 'lost', since: this.#heardAt, why: error instanceof ApiError ? error.message : 'The answer cannot be read' })
  }

  #become(connection: Connection): void {
    // While it stays lost, the last sign of life is what matters.
    if (connection.kind === 'lost' && this.connection.kind === 'lost' && connection.since === this.connection.since) return
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
