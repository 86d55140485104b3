import type { EventKind, LockEvent } from './answers.js'
import type { ClientContext } from './api.js'
import { onAbort } from './clock.js'
import { LockRequestError, LockServiceUnavailableError, LockWatchEndedError, type LossReason } from './errors.js'
import { Backoff, fromWire, read } from './transport.js'

/*
 * Bundlers make a chunk of its own of this file, which pages load when they first watch, or hold a lock for more than a
 * second: the rest of the client imports it by `import()` only.
 */

export interface WatchOptions {
  /** Only names that begin with this. */
  readonly prefix?: string | undefined
  /** Only what happens to the locks of this process. */
  readonly processId?: string | undefined
  /** Only what happens to the locks of processes whose ids begin with this. */
  readonly processPrefix?: string | undefined
  /** The id of the last event that was seen: the stream resumes after it. Left out, it begins with what happens from now on. */
  readonly after?: number | undefined
  /** Ends the watching, without an error. */
  readonly signal?: AbortSignal | undefined
  /** Called when a connection is open: from now on, every event arrives as it happens. */
  readonly onOpen?: (() => void) | undefined
  /** Called when a connection breaks or cannot be opened, and the watching goes on with another one. */
  readonly onBroken?: ((error: unknown) => void) | undefined
}

/** One message of a stream of server-sent events. */
export interface Message {
  readonly event: string
  readonly data: string
  readonly id: string | undefined
}

/**
 * Reads server-sent events (WHATWG HTML, section 9.2.6) from chunks of text that are cut anywhere. A comment, which keeps the
 * connection open, is given as null.
 */
export class EventStreamParser {
  #rest = ''
  #afterReturn = false
  #event = ''
  #data: string[] = []
  #id: string | undefined

  /** The messages that the chunk completes. */
  *push(chunk: string): Generator<Message | null> {
    // The second half of a line's end that was cut.
    const text = this.#afterReturn && chunk.startsWith('\n') ? chunk.slice(1) : chunk
    if (chunk) this.#afterReturn = text.endsWith('\r')
    const lines = (this.#rest + text).split(/\r\n|\n|\r/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.startsWith(':')) yield null
      else if (line) this.#field(line)
      else {
        if (this.#data.length > 0) yield { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id }
        this.#event = ''
        this.#data = []
      }
    }
  }

  #field(line: string): void {
    const [, name, value = ''] = /^([^:]*):? ?(.*)/s.exec(line) ?? []
    if (name === 'event') this.#event = value
    else if (name === 'data') this.#data.push(value)
    else if (name === 'id' && !value.includes('\0')) this.#id = value
  }
}

/** The service says something every 15 seconds; a connection that is silent for longer is dead. */
const SILENCE_MS = 45_000
/** How many events of the history the client reads to find what happened before its stream began. */
const LOOK_BACK = 100

/** Why the service ends a stream that may be resumed with the last id. */
const RESUMABLE = new Set(['draining', 'too_slow'])

/** What an event says of the lock that was granted with the same id. */
const LOSSES: Readonly<Partial<Record<EventKind, LossReason>>> = { expired: 'expired', released: 'released', force_released: 'released' }

interface Loss extends LockEvent {
  /** Undefined where the holder is only asked to end. */
  readonly lossReason: LossReason | undefined
}

/** The grants of a process that end, a little earlier ones too, for as long as the signal does not fire. */
export async function* lossesOf(context: ClientContext, processId: string, signal: AbortSignal): AsyncGenerator<Loss, void, undefined> {
  const { events } = await context.calls.history({ processId, limit: LOOK_BACK }, { signal })
  for (const event of events) yield* lossOf(event)
  const watched = watchEvents({ ...context, retryMs: Infinity }, { processId, after: events[0]?.eventId ?? 0, signal }, true)
  for await (const event of watched) yield* lossOf(event)
}

function lossOf(event: LockEvent): Loss[] {
  // A share that was converted goes on under another number.
  const lossReason = event.reason === 'converted' ? undefined : LOSSES[event.event]
  return lossReason || event.event === 'revoked' ? [{ ...event, lossReason }] : []
}

/**
 * Watches until the signal fires, over as many connections as that takes.
 *
 * @param background true for a stream that must not keep a process alive.
 */
export async function* watchEvents(context: ClientContext, options: WatchOptions, background = false): AsyncGenerator<LockEvent, void, undefined> {
  const { prefix = '', processId, processPrefix = '', after, signal, onOpen, onBroken } = options
  let last = after
  let wasOpen = false
  let backoff = new Backoff(context)
  try {
    // Without an event to resume after, the client would miss what happens while the first connection breaks.
    last ??= (await context.calls.history({ limit: 1 }, { signal })).events[0]?.eventId ?? 0
    for (;;) {
      try {
        const messages: AsyncGenerator<Message | null | undefined> = connection(context, { ...options, after: last }, backoff.begin(), background)
        let isOpen = false
        for await (const message of messages) {
          // The service was there and will come back: from now on only the caller ends the watching.
          backoff = new Backoff({ ...context, retryMs: Infinity })
          if (message === undefined) continue
          if (message?.event === 'end') {
            const { reason } = JSON.parse(message.data) as { reason: string }
            // There was no event to resume after, as for a key with a prefix: the stream begins with what happens now.
            if (reason === 'too_old' && last === 0 && after === undefined && !wasOpen) last = undefined
            else if (!RESUMABLE.has(reason)) throw new LockWatchEndedError(reason)
            break
          }
          if (!isOpen) onOpen?.()
          isOpen = wasOpen = true
          if (message === null) continue
          const event = fromWire(JSON.parse(message.data)) as LockEvent
          last = event.eventId
          // A service that does not know the filter sends everything.
          if ((processId ?? event.processId) === event.processId && event.processId.startsWith(processPrefix) && event.resourceName.startsWith(prefix)) yield event
        }
        throw new LockServiceUnavailableError('The stream of events ended', { outcomeUnknown: false })
      } catch (error) {
        if (wasOpen) last ??= 0
        await backoff.pauseAfter(error, signal, onBroken)
      }
    }
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}

/** The messages of one connection, as long as it lasts; the first is undefined, when the service has accepted it. */
async function* connection(
  { transport, clock }: ClientContext,
  { prefix, processId, processPrefix, after, signal }: WatchOptions,
  timeoutMs: number,
  background: boolean
): AsyncGenerator<Message | null | undefined> {
  const ending = new AbortController()
  const forget = onAbort(signal, () => ending.abort(signal?.reason))
  let cancel: (() => void) | undefined
  const listen = (): void => {
    cancel?.()
    cancel = clock.schedule(SILENCE_MS, () => ending.abort(new Error('no sign of life')), true)
  }
  try {
    const query = { prefix, processId, processPrefix }
    const headers: Record<string, string> = after === undefined ? {} : { 'last-event-id': String(after) }
    const response = await transport.stream({ method: 'GET', path: 'locks/watch', query, headers, signal: ending.signal, timeoutMs, background })
    if (response.status !== 200 || response.body === null) transport.judge(response, await read(response))
    yield undefined
    listen()
    const reader = response.body?.getReader()
    const decoder = new TextDecoder()
    const parser = new EventStreamParser()
    for (let chunk = await reader?.read(); chunk?.done === false; chunk = await reader?.read()) {
      listen()
      yield* parser.push(decoder.decode(chunk.value, { stream: true }))
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw cause instanceof LockRequestError || cause instanceof LockServiceUnavailableError ? cause : transport.unreachable(cause)
  } finally {
    cancel?.()
    forget()
    ending.abort()
  }
}
