import type { VNode } from 'preact'
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { EventKind, HttpLocks, LockEvent, Queue, Status, Waiter } from '../../client/index.js'
import { ForceRelease, type Intent } from './force-release.js'
import { HolderPanel, HoldersPanel } from './holders.js'
import { html, isForPage, isPlainClick, useKeys, type Navigation } from './hooks.js'
import { pause } from './list-reader.js'
import type { Live } from './live.js'
import { count, duration, remaining, zoneOf, Cut, Moment, Snippets, snippetsFor } from './parts.js'
import { areShares, usageOf } from './rows.js'

interface ResourcePageProps {
  readonly name: string
  readonly live: Live
  readonly locks: HttpLocks
  readonly base: string
  readonly withKey: boolean
  readonly navigation: Navigation
}

/** One resource: who holds it, its queue, its history, and commands to use it. */
export function ResourcePage({ name, live, locks, base, withKey, navigation }: ResourcePageProps): VNode {
  const { queue, kept, history, more } = useResource(name, live, locks)
  const [intent, setIntent] = useState<Intent | null>(null)
  const grants = live.table.grantsOf(name)
  const [lock] = grants
  const isShared = areShares(grants)
  const usage = isShared ? usageOf(grants) : null
  const now = live.now()
  const forceRelease = (): void => {
    if (grants.length > 0 && live.mayForce) setIntent({ action: 'force-release', targets: grants })
  }
  // All that the holder has, which a dead one will not release itself.
  const others = useMemo(() => (lock === undefined ? [] : live.table.locks.filter(({ process }) => process === lock.process)), [live.table.locks, lock?.process])
  const back = (event: Event): void => {
    event.preventDefault()
    navigation.go({ resource: null })
  }
  useKeys((event) => {
    if (!isForPage(event)) return
    if (event.key === 'Escape') back(event)
    if (event.key === 'f') {
      event.preventDefault()
      forceRelease()
    }
  })
  useLayoutEffect(() => scrollTo(0, 0), [name])
  return html`<main class="resource">
    <nav aria-label="Back">
      <a
        class="back"
        href=${navigation.hrefOf({ resource: null })}
        onClick=${(event: MouseEvent) => {
          if (isPlainClick(event)) back(event)
        }}
        >All locks</a
      >
    </nav>
    <header>
      <h2><bdi>${name}</bdi></h2>
      <span class=${`state ${lock !== undefined ? 'held' : kept !== undefined ? 'kept' : 'free'}`}>${lock !== undefined ? (isShared ? 'shared' : 'held') : kept !== undefined ? 'kept' : live.known ? 'free' : 'not known yet'}</span>
    </header>
    <div class="columns">
      <div>
        ${usage === null
          ? html`<${HolderPanel} lock=${lock} kept=${kept} known=${live.known} now=${now} others=${others} navigation=${navigation} onIntent=${live.mayForce ? setIntent : null} />`
          : html`<${HoldersPanel} grants=${grants} usage=${usage} now=${now} navigation=${navigation} onIntent=${live.mayForce ? setIntent : null} />`}
        <${Snippets} snippets=${snippetsFor(name, base, withKey, usage?.limit)} />
      </div>
      <div>
        <${QueueList} queue=${queue} now=${now} isShared=${isShared} />
        <${HistoryList} history=${history} now=${now} onMore=${more} />
      </div>
    </div>
    ${intent !== null && html`<${ForceRelease} ...${intent} live=${live} onClose=${() => setIntent(null)} />`}
  </main>`
}

const QUEUE_EVERY_MS = 1500
const HISTORY_PAGE_SIZE = 50

interface History {
  readonly events: readonly LockEvent[]
  /** Where older events begin; null at the end. */
  readonly cursor: string | null
}

interface ResourceState {
  /** Undefined while it is unknown, as the history. */
  readonly queue: Queue | undefined
  /** Where nobody holds it, and it is kept after a lock. */
  readonly kept: Status | undefined
  readonly history: History | undefined
  /** Reads older events. */
  readonly more: () => void
}

/** What only the page of one resource shows: the queue, read again and again, and the history, continued by events. */
function useResource(name: string, live: Live, locks: HttpLocks): ResourceState {
  const [queue, setQueue] = useState<Queue>()
  const [kept, setKept] = useState<Status>()
  const [history, setHistory] = useState<History>()
  const running = useRef<AbortSignal>(undefined)
  const isKnown = useRef(false)
  const readHistory = (signal: AbortSignal, cursor?: string): void => {
    locks.history({ resourceName: name, limit: HISTORY_PAGE_SIZE, ...(cursor === undefined ? {} : { cursor }) }, { signal }).then(
      ({ events, nextCursor }) => {
        isKnown.current = true
        setHistory((known) => ({ events: newestFirst([...(known?.events ?? []), ...events]), cursor: nextCursor }))
      },
      () => undefined
    )
  }

  useEffect(() => {
    const stopping = new AbortController()
    const { signal } = stopping
    running.current = signal
    setQueue(undefined)
    setKept(undefined)
    setHistory(undefined)
    isKnown.current = false
    const readQueue = async (): Promise<void> => {
      while (!signal.aborted) {
        // Also after a failure, until it is known; from then on events continue it.
        if (!isKnown.current) readHistory(signal)
        const read = await locks.queue(name, { signal }).catch(() => undefined)
        const isFree = live.ready && live.table.grantsOf(name).length === 0
        const status = isFree ? await locks.status(name, { signal }).catch(() => undefined) : undefined
        if (signal.aborted) return
        setQueue(read)
        setKept(status?.kept === true ? status : undefined)
        await pause(QUEUE_EVERY_MS, signal)
      }
    }
    const stopEvents = live.onEvent((event) => {
      if (event.resourceName !== name) return
      setHistory((known) => (known === undefined ? known : { ...known, events: newestFirst([event, ...known.events]) }))
    })
    void readQueue()
    return () => {
      stopEvents()
      stopping.abort()
    }
  }, [name, locks, live, live.runs])

  const more = (): void => {
    const cursor = history?.cursor ?? null
    if (cursor !== null && running.current !== undefined) readHistory(running.current, cursor)
  }
  return { queue, kept, history, more }
}

/** Each event once, whether it came by the history or by the stream. */
function newestFirst(events: readonly LockEvent[]): readonly LockEvent[] {
  return [...new Map(events.map((event) => [event.eventId, event])).values()].toSorted((a, b) => b.eventId - a.eventId)
}

interface QueueListProps {
  readonly queue: Queue | undefined
  readonly now: number
  /** Whether the resource has shares, so that an exclusive request is not a matter of course. */
  readonly isShared: boolean
}

/** The waiters, the next to be granted first. */
function QueueList({ queue, now, isShared }: QueueListProps): VNode {
  return html`<section class="panel queue">
    <h3>Queue${queue !== undefined && queue.totalWaiters > 0 && html` <span class="more">${count(queue.totalWaiters)}</span>`}</h3>
    ${queueContent(queue, now, isShared)}
  </section>`
}

function queueContent(queue: Queue | undefined, now: number, isShared: boolean): VNode {
  if (queue === undefined) return html`<p class="none">unknown</p>`
  if (queue.waiters.length === 0) return html`<p class="none">Nobody waits.</p>`
  const unseen = queue.totalWaiters - queue.waiters.length
  const saysWhat = isShared || queue.waiters.some(({ mode }) => mode === 'shared')
  return html`<ol>
      ${queue.waiters.map(
        (waiter) => html`<li key=${`${waiter.position} ${waiter.processId}`}>
          <span class="place">${waiter.position}</span>
          <span class="who" title=${waiter.processId}><${Cut} text=${waiter.processId} /></span>
          <span class="aside">${saysWhat && html`<b>${wantedText(waiter)}</b> `}${since(waiter, now)}</span>
        </li>`
      )}
    </ol>
    ${unseen > 0 && html`<p class="none">and ${count(unseen)} more</p>`}`
}

/** What a waiter asks for. */
function wantedText({ mode, limit, permits }: Waiter): string {
  if (mode !== 'shared') return 'exclusive'
  return typeof limit === 'number' ? `${count(permits ?? 1)} of ${count(limit)}` : 'share'
}

function since({ waitingSince: from, keptUntil: until }: Waiter, now: number): string {
  if (until !== null) return `place kept for ${remaining(until.getTime() - now)}`
  return from === null ? 'since when is unknown' : duration(now - from.getTime())
}

interface HistoryListProps {
  readonly history: History | undefined
  readonly now: number
  readonly onMore: () => void
}

const EVENT_WORDS: Readonly<Record<EventKind, string>> = {
  granted: 'granted',
  renewed: 'renewed',
  converted: 'made a share',
  revoked: 'asked to release',
  released: 'released',
  expired: 'ran out',
  force_released: 'taken away'
}

/** The service's own reasons are words of their own. */
function wordsFor({ event, reason }: LockEvent): { readonly what: string; readonly why: string | null } {
  if (event === 'force_released' && reason === 'stolen') return { what: 'stolen', why: null }
  if (event === 'released' && reason === 'converted') return { what: 'converted', why: null }
  return { what: EVENT_WORDS[event], why: reason }
}

/** The events of the resource, newest first. */
function HistoryList({ history, now, onMore }: HistoryListProps): VNode {
  return html`<section class="panel history">
    <h3>History <span class="more">times in ${zoneOf(now)}</span></h3>
    ${historyContent(history, now)}
    ${history?.cursor !== null && history !== undefined && html`<button type="button" class="quiet" onClick=${onMore}>Older</button>`}
  </section>`
}

function historyContent(history: History | undefined, now: number): VNode {
  if (history === undefined) return html`<p class="none">unknown</p>`
  if (history.events.length === 0) return html`<p class="none">Nothing is remembered.</p>`
  return html`<ol>
    ${history.events.map((happened) => {
      const { eventId, event, at, processId, lockId } = happened
      const { what, why } = wordsFor(happened)
      return html`<li key=${eventId} class=${event}>
        <${Moment} at=${at.getTime()} now=${now} zone=${false} />
        <span class="what">${what}</span>
        <span class="mono token">${lockId}</span>
        <span class="who" title=${processId}><${Cut} text=${processId} /></span>
        ${why !== null && html`<q><bdi>${why}</bdi></q>`}
      </li>`
    })}
  </ol>`
}
