import { LockError } from './errors.js'
import type { LockEvent, LockStore } from './store.js'

/** How often the history is read for events of other instances while somebody watches, in milliseconds. */
const POLL_MS = 250
/** How soon it is read after a command of this instance. */
const SOON_MS = 10
/** Events that are kept in memory, so that many watchers cost one query. */
const RECENT = 1000
const PAGE = 500
/** Events in one item: so much is held for a watcher that does not read. */
const MOST_AT_ONCE = 100

/** A watcher that is further behind than this is disconnected: it would not catch up, and can reconnect with its last id. */
const MOST_BEHIND = 10_000

/** What to watch. */
export interface WatchQuery {
  /** Only names that begin with this text; empty watches all. */
  readonly prefix: string
  /** Only grants of this process; null watches all. */
  readonly processId: string | null
  /** Only grants of processes whose ids begin with this text; all if left out. */
  readonly processPrefix?: string | undefined
  /** The id of the last event that the watcher has seen; null begins with what happens from now on. */
  readonly after: number | null
}

export type FeedItem =
  /** At least one, in their order. */
  | { readonly kind: 'events'; readonly events: readonly LockEvent[] }
  /** Nothing happened for a while. */
  | { readonly kind: 'quiet' }
  /** The last item: why no more will come. */
  | { readonly kind: 'end'; readonly reason: 'too_old' | 'too_slow' | 'draining' | 'no_history' }

/** Delivers the history, whichever instance writes it, to any number of watchers, in order and without gaps. */
export class EventFeed {
  readonly #store: LockStore
  readonly #wakers = new Set<() => void>()
  #recent: LockEvent[] = []
  /** The newest event that was delivered; undefined while nobody watches. */
  #position: number | undefined
  #starting: Promise<ReadonlySet<number>> | undefined
  #timer: NodeJS.Timeout | undefined
  #watchers = 0
  /** The next read is due in {@link SOON_MS}. */
  #soon = false
  #closed = false

  constructor(store: LockStore) {
    this.#store = store
  }

  /** Call it after a write, so that watchers need not wait for the next poll. */
  poke(): void {
    if (this.#watchers > 0) this.#schedule(SOON_MS)
  }

  /** Ends all watching. */
  close(): void {
    this.#closed = true
    this.#wakeAll()
  }

  /**
   * @param quietMs after so long without an event for this watcher, a `quiet` item is given.
   * @param signal fires when the watcher is gone.
   */
  async *watch({ prefix, processId, processPrefix = '', after }: WatchQuery, quietMs: number, signal?: AbortSignal): AsyncGenerator<FeedItem> {
    if (!this.#store.keepsHistory) {
      yield { kind: 'end', reason: 'no_history' }
      return
    }
    this.#watchers += 1
    try {
      const earlier = await this.#start()
      let position = after ?? this.#position ?? 0
      if (after !== null && (await this.#store.reads.isForgotten(after))) {
        yield { kind: 'end', reason: 'too_old' }
        return
      }
      /** A watcher that reconnects may be far behind at first; once it has caught up it may not fall back so far. */
      let caughtUp = false
      // The client knows at once that it is connected.
      yield { kind: 'quiet' }
      let quietAt = performance.now() + quietMs
      for (;;) {
        if (signal?.aborted === true) return
        if (this.#closed) {
          yield { kind: 'end', reason: 'draining' }
          return
        }
        caughtUp ||= position >= (this.#position ?? 0)
        if (caughtUp && (this.#position ?? 0) - position > MOST_BEHIND) {
          yield { kind: 'end', reason: 'too_slow' }
          return
        }
        const next = (await this.#next(position)).slice(0, MOST_AT_ONCE)
        position = next.at(-1)?.eventId ?? position
        const events = next.filter(
          (event) =>
            (after !== null || !earlier.has(event.eventId)) &&
            event.resourceName.startsWith(prefix) &&
            (processId === null || event.processId === processId) &&
            event.processId.startsWith(processPrefix)
        )
        if (events.length > 0) {
          yield { kind: 'events', events }
          quietAt = performance.now() + quietMs
        }
        if (next.length === 0) await this.#sleep(Math.max(0, quietAt - performance.now()), signal)
        if (performance.now() < quietAt) continue
        yield { kind: 'quiet' }
        quietAt = performance.now() + quietMs
      }
    } finally {
      this.#leave()
    }
  }

  /**
   * Reads a state again whenever the history says something of a resource, and when the time is over that `restMs` gives for
   * the state; 0 ends it. Without a history it is read every quarter of a second.
   *
   * @param signal fires when the caller is gone; the state that was read last is then its result.
   * @throws LockError `DRAINING` when the service stops meanwhile.
   */
  async readUntil<State>(resourceName: string, read: () => Promise<State>, restMs: (state: State) => number, signal: AbortSignal): Promise<State> {
    const { keepsHistory } = this.#store
    this.#watchers += 1
    try {
      if (keepsHistory) await this.#start()
      for (;;) {
        // An event that comes after this position is noticed below; the state shows every earlier one.
        let position = this.#position ?? 0
        const state = await read()
        const until = performance.now() + restMs(state)
        if (until <= performance.now()) return state
        do {
          if (signal.aborted) return state
          if (this.#closed) throw new LockError('DRAINING')
          const ms = Math.max(0, until - performance.now())
          await this.#sleep(keepsHistory ? ms : Math.min(ms, POLL_MS), signal)
          if (!keepsHistory || this.#isTouched(resourceName, position)) break
          position = this.#position ?? 0
        } while (performance.now() < until)
      }
    } finally {
      this.#leave()
    }
  }

  /** Whether an event after that position is of the resource, or may be. */
  #isTouched(resourceName: string, position: number): boolean {
    if ((this.#position ?? 0) <= position) return false
    for (let index = this.#recent.length - 1; index >= 0; index -= 1) {
      const event = this.#recent[index]
      if (event === undefined || event.eventId <= position) return false
      if (event.resourceName === resourceName) return true
    }
    // The rest is no longer in memory.
    return true
  }

  /** The events after that one: from memory if it reaches back so far, else from the database. */
  async #next(position: number): Promise<readonly LockEvent[]> {
    const newest = this.#position ?? 0
    if (position >= newest) return []
    const oldest = this.#recent[0]?.eventId
    if (oldest !== undefined && position >= oldest - 1) return this.#recent.slice(this.#recent.findLastIndex(({ eventId }) => eventId <= position) + 1)
    const { events } = await this.#store.reads.eventsAfter(position, PAGE)
    return events.filter(({ eventId }) => eventId <= newest)
  }

  /** Resolves to the ids of events that will be delivered although they happened before. */
  #start(): Promise<ReadonlySet<number>> {
    if (this.#starting !== undefined) return this.#starting
    const starting = this.#store.reads.feedStart().then((start) => {
      // All watchers may have left meanwhile.
      if (this.#starting === starting) {
        this.#position = start.after
        this.#schedule(POLL_MS)
      }
      return new Set(start.earlier)
    })
    this.#starting = starting
    return starting
  }

  #leave(): void {
    this.#watchers -= 1
    if (this.#watchers > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#starting = undefined
    this.#position = undefined
    this.#recent = []
  }

  #schedule(ms: number): void {
    if (this.#position === undefined || this.#closed) return
    if (ms === SOON_MS && this.#soon) return
    this.#soon = ms === SOON_MS
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#soon = false
      void this.#read()
    }, ms)
  }

  async #read(): Promise<void> {
    const from = this.#position
    if (from === undefined) return
    // While the database is away watchers receive nothing, and miss nothing.
    const { events, more } = await this.#store.reads.eventsAfter(from, PAGE, 'settled').catch(() => ({ events: [], more: false }))
    const last = events.at(-1)
    if (this.#position !== from) return
    if (last !== undefined) {
      this.#position = last.eventId
      this.#recent = [...this.#recent, ...events].slice(-RECENT)
      this.#wakeAll()
    }
    this.#schedule(more ? 0 : POLL_MS)
  }

  /** Resolves when the time has passed, when events have come, or when the watcher is gone. */
  #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed || signal?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#wakers.delete(wake)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      this.#wakers.add(wake)
      signal?.addEventListener('abort', wake)
    })
  }

  #wakeAll(): void {
    for (const wake of this.#wakers) wake()
  }
}
