import { useEffect, useRef, useState } from 'preact/hooks'
import type { WireEvent, WireHistory, WireQueue } from '../model/wire.js'
import type { Api } from '../net/api.js'
import type { Live } from '../net/live.js'
import { pause } from '../net/pause.js'

const QUEUE_EVERY_MS = 1500
const HISTORY_PAGE = 50

export interface History {
  readonly events: readonly WireEvent[]
  /** Where older events begin; null at the end. */
  readonly cursor: string | null
}

export interface ResourceState {
  /** Undefined while it is not known. */
  readonly queue: WireQueue | undefined
  readonly history: History | undefined
  /** Reads older events. */
  readonly more: () => void
}

/** What only a resource's own page shows. The queue is read again and again; the history goes on with what is told. */
export function useResource(name: string, live: Live, api: Api): ResourceState {
  const [queue, setQueue] = useState<WireQueue>()
  const [history, setHistory] = useState<History>()
  const running = useRef<AbortSignal>(undefined)

  useEffect(() => {
    const { signal, stop } = session()
    running.current = signal
    setQueue(undefined)
    setHistory(undefined)
    const readQueue = async (): Promise<void> => {
      while (!signal.aborted) {
        const read = await api.get<WireQueue>('locks/queue', { resource_name: name }, signal).catch(() => undefined)
        if (!signal.aborted) setQueue(read)
        await pause(QUEUE_EVERY_MS, signal)
      }
    }
    const told = live.onEvent((event) => {
      if (event.resource_name !== name) return
      setHistory((known) => (known === undefined ? known : { ...known, events: newestFirst([event, ...known.events]) }))
    })
    void readQueue()
    api.get<WireHistory>('locks/history', { resource_name: name, limit: HISTORY_PAGE }, signal).then(
      ({ events, next_cursor: cursor }) => setHistory((known) => ({ events: newestFirst([...(known?.events ?? []), ...events]), cursor })),
      () => undefined
    )
    return () => {
      told()
      stop()
    }
  }, [name, api, live])

  const more = (): void => {
    const signal = running.current
    const cursor = history?.cursor ?? null
    if (cursor === null || signal === undefined) return
    api.get<WireHistory>('locks/history', { resource_name: name, limit: HISTORY_PAGE, cursor }, signal).then(
      (page) => setHistory((known) => ({ events: newestFirst([...(known?.events ?? []), ...page.events]), cursor: page.next_cursor })),
      () => undefined
    )
  }
  return { queue, history, more }
}

function session(): { readonly signal: AbortSignal; readonly stop: () => void } {
  const controller = new AbortController()
  return { signal: controller.signal, stop: () => controller.abort() }
}

/** Each event once, however it became known. */
function newestFirst(events: readonly WireEvent[]): readonly WireEvent[] {
  return [...new Map(events.map((event) => [event.event_id, event])).values()].toSorted((a, b) => b.event_id - a.event_id)
}
