import type { WireEvent } from '../model/wire.js'
import type { Api } from './api.js'
import { readEvents } from './event-stream.js'
import { pause } from './pause.js'

export interface Watcher {
  /** The stream is open, and nothing that happens from now on is missed. `resumed`: nor what happened since it broke. */
  readonly onOpen: (resumed: boolean) => void
  readonly onEvent: (event: WireEvent) => void
  /** The stream is closed, for `error` or for a reason that the service gave; it will be opened again. */
  readonly onClosed: (why: unknown) => void
}

const SOONEST_MS = 500
const LATEST_MS = 5000
/** The service writes a comment every fifteen seconds: after twice as long the connection is dead. */
const SILENCE_MS = 32_000
/** How soon to ask again whether a history is kept meanwhile, without which there is nothing to watch. */
const NO_HISTORY_MS = 60_000

/** Follows what happens to locks until `signal` ends it, and goes on after the last event seen when the connection breaks. */
export async function watchLocks(api: Api, { onOpen, onEvent, onClosed }: Watcher, signal: AbortSignal): Promise<void> {
  let lastId: string | null = null
  for (let delay = SOONEST_MS; !signal.aborted; ) {
    const connection = new AbortController()
    let silence = setTimeout(() => connection.abort(), SILENCE_MS)
    let why: unknown
    try {
      const resume: Record<string, string> = lastId === null ? {} : { 'last-event-id': lastId }
      const stream = await api.stream('locks/watch', resume, AbortSignal.any([signal, connection.signal]))
      let open = false
      for await (const message of readEvents(stream)) {
        clearTimeout(silence)
        silence = setTimeout(() => connection.abort(), SILENCE_MS)
        if (message?.event === 'end') {
          why = reasonOf(message.data)
          // What happened since that event can no longer be told: only reading everything anew helps.
          if (why === 'too_old') lastId = null
          break
        }
        if (!open) onOpen(lastId !== null)
        open = true
        delay = SOONEST_MS
        if (message === null) continue
        lastId = message.id ?? lastId
        onEvent(JSON.parse(message.data) as WireEvent)
      }
    } catch (error) {
      why = error
    }
    clearTimeout(silence)
    connection.abort()
    if (signal.aborted) return
    onClosed(why)
    await pause(why === 'no_history' ? NO_HISTORY_MS : delay, signal)
    delay = Math.min(LATEST_MS, delay * 2)
  }
}

function reasonOf(data: string): unknown {
  return (JSON.parse(data) as { reason?: unknown }).reason
}
