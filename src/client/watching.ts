import type { Surroundings } from './acquisition.js'
import { LockServiceUnavailableError, LockWatchEndedError } from './errors.js'
import { EventStreamParser, type Message } from './event-stream.js'
import { Patience } from './retry.js'
import { judge, read } from './transport.js'
import type { LockEvent } from './types.js'
import { eventOf, type Json } from './wire.js'

/** The service says something every 15 seconds; a connection that is silent for longer is dead. */
const SILENCE_MS = 45_000

export interface WatchOptions {
  /** Only names that begin with this. */
  readonly prefix?: string | undefined
  /** The id of the last event that was seen: the stream goes on after it. Left out, it begins with what happens from now on. */
  readonly after?: number | undefined
  /** Ends the watching, without an error. */
  readonly signal?: AbortSignal | undefined
}

/** Why the service ends a stream that may be taken up again with the last id. */
const TAKEN_UP = new Set(['draining', 'too_slow'])

/** Watches until the signal fires, over as many connections as that takes. */
export async function* watchEvents(surroundings: Surroundings, { prefix, after, signal }: WatchOptions): AsyncGenerator<LockEvent, void, undefined> {
  let last = after
  let patience = new Patience(surroundings)
  try {
    // Without a place to go on from, what happens while the first connection breaks would be missed.
    last ??= (await surroundings.calls.history({ limit: 1 }, { signal })).events[0]?.eventId
    for (;;) {
      try {
        for await (const message of connection(surroundings, prefix, last, signal)) {
          // It was there, so that it will be there again: from now on nothing but the caller ends the watching.
          patience = new Patience({ ...surroundings, retryMs: Infinity })
          if (message === null) continue
          if (message.event === 'end') {
            const { reason } = JSON.parse(message.data) as { reason: string }
            if (!TAKEN_UP.has(reason)) throw new LockWatchEndedError(reason)
            break
          }
          const event = eventOf(JSON.parse(message.data) as Json)
          last = event.eventId
          yield event
        }
        throw new LockServiceUnavailableError('The stream of events ended', { outcomeUnknown: false })
      } catch (error) {
        await patience.pauseAfter(error, signal)
      }
    }
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}

/** The messages of one connection, as long as it lasts. */
async function* connection(
  { transport, clock }: Surroundings,
  prefix: string | undefined,
  last: number | undefined,
  signal: AbortSignal | undefined
): AsyncGenerator<Message | null> {
  signal?.throwIfAborted()
  const ending = new AbortController()
  const stop = (): void => ending.abort(signal?.reason)
  signal?.addEventListener('abort', stop)
  let cancel: (() => void) | undefined
  const listen = (): void => {
    cancel?.()
    cancel = clock.schedule(SILENCE_MS, () => ending.abort(new Error('no sign of life')), true)
  }
  try {
    listen()
    const headers: Readonly<Record<string, string>> = last === undefined ? {} : { 'last-event-id': String(last) }
    const response = await transport.open({ method: 'GET', path: 'locks/watch', query: { prefix }, headers, signal: ending.signal })
    if (response.status !== 200 || response.body === null) judge(response, await read(response))
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    const parser = new EventStreamParser()
    for (let chunk = await reader?.read(); chunk?.done === false; chunk = await reader?.read()) {
      listen()
      yield* parser.push(chunk.value)
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw isNetwork(cause) ? new LockServiceUnavailableError('The stream of events broke', { outcomeUnknown: false, cause }) : cause
  } finally {
    cancel?.()
    signal?.removeEventListener('abort', stop)
    ending.abort()
  }
}

/** Whatever is none of the client's own errors comes from the connection. */
function isNetwork(error: unknown): boolean {
  return !(error instanceof Error && error.name.startsWith('Lock'))
}
