import { Readable } from 'node:stream'
import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FeedItem } from '../../locks/event-feed.js'
import type { WatcherQuota } from '../../locks/quotas.js'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { LIST_LIMIT, type LockEvent } from '../../locks/store.js'
import { callerOf } from '../auth.js'
import { eventBody, eventFromCursor, success, toCursor } from '../responses.js'
import { answer, LockIdSchema, orNull, ProcessIdSchema, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleNames, WITH_QUERY } from '../schemas/grants.js'

const tags = ['Administration']

const historySchema = {
  operationId: 'getLockHistory',
  tags,
  summary: 'What happened to locks',
  description:
    'Newest first. Renewals are told at most once a minute for each lock. Events are kept for HISTORY_RETENTION_DAYS.',
  querystring: Type.Object({
    resource_name: Type.Optional(ResourceNameSchema),
    process_id: Type.Optional(ProcessIdSchema),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT, description: 'At most that many events; 100 if left out.' })),
    cursor: Type.Optional(Type.String({ maxLength: 64, description: 'The `next_cursor` of the page before.' }))
  }),
  response: {
    200: answer(
      'One page of the history.',
      Type.Object({
        events: Type.Array(
          Type.Object({
            event_id: Type.Integer(),
            event: Type.Unsafe<string>({ type: 'string', enum: ['granted', 'renewed', 'converted', 'revoked', 'released', 'expired', 'force_released'] }),
            at: Timestamp('When it happened, by the database’s clock.'),
            resource_name: Type.String(),
            process_id: Type.String({ description: 'The holder.' }),
            lock_id: LockIdSchema,
            reason: orNull<string>('string', { description: 'Why a lock was taken away or revoked.' })
          }, { title: 'LockEvent' })
        ),
        next_cursor: orNull<string>('string', { description: 'Where the next page begins; null at the end.' })
      }),
      'Retrieved 1 events',
      {
        events: [{ event_id: 7, event: 'granted', at: '2024-01-15T10:30:00.123+00:00', ...exampleNames, lock_id: 42, reason: null }],
        next_cursor: null
      }
    ),
    ...WITH_QUERY
  }
}

const exampleStream = [
  'id: 7',
  'event: granted',
  'data: {"event_id":7,"event":"granted","at":"2024-01-15T10:30:00.123+00:00","resource_name":"database_backup","process_id":"process_123","lock_id":42,"reason":null}',
  '',
  ''
].join('\n')

const watchSchema = {
  operationId: 'watchLocks',
  tags,
  summary: 'Watch what happens to locks',
  description:
    'Server-sent events as they are written to the history, by whichever instance: `granted`, `renewed`, `converted`, `revoked`, `released`, `expired`, `force_released`. ' +
    'A comment comes every 15 seconds. With `Last-Event-ID` the stream goes on after that event. The last event is `end`, with the reason: `too_old` ' +
    '(that id is no longer in the history), `too_slow`, `draining` or `no_history` (HISTORY_RETENTION_DAYS is 0).',
  querystring: Type.Object({
    prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this.' })),
    process_id: Type.Optional(ProcessIdSchema),
    process_prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only processes whose ids begin with this.' }))
  }),
  headers: Type.Object({
    'last-event-id': Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$', description: 'The id of the last event that was seen.' }))
  }),
  response: {
    200: {
      description: 'The events, until either side ends the stream.',
      content: { 'text/event-stream': { schema: Type.String(), example: exampleStream } }
    },
    ...WITH_QUERY
  }
}

export interface EventRoutesOptions {
  readonly locksOf: LocksOf
  readonly watchers: WatcherQuota
}

const HISTORY_PAGE = 100
const COMMENT_EVERY_MS = 15_000

/** What happened to locks, in pages, and what happens, as server-sent events (WHATWG HTML, section 9.2). */
export const eventRoutes: FastifyPluginCallbackTypebox<EventRoutesOptions> = (app, { locksOf, watchers }, done) => {
  app.get('/locks/history', { config: { access: 'read' }, schema: historySchema }, async ({ query, apiKey }) => {
    const { resource_name: resourceName = null, process_id: processId = null, limit = HISTORY_PAGE, cursor } = query
    const before = cursor === undefined ? null : eventFromCursor(cursor)
    const { events, more } = await locksOf(apiKey).reads.history({ prefix: '', resourceName, processId, before, limit })
    const last = events.at(-1)
    return success(`Retrieved ${events.length} events`, {
      events: events.map(eventBody),
      next_cursor: more && last !== undefined ? toCursor(String(last.eventId)) : null
    })
  })

  app.get('/locks/watch', { config: { access: 'read' }, schema: watchSchema }, (request, reply) => {
    const last = request.headers['last-event-id']
    const leave = watchers.enter(callerOf(request))
    const gone = new AbortController()
    reply.raw.once('close', () => {
      leave()
      gone.abort()
    })
    const { prefix = '', process_id: processId = null, process_prefix: processPrefix } = request.query
    const after = last === undefined ? null : Number(last)
    const items = locksOf(request.apiKey).watch({ prefix, processId, processPrefix, after }, COMMENT_EVERY_MS, gone.signal)
    // The declared 200 is the text that the stream yields.
    const text = Readable.from(messages(items)) as unknown as string
    void reply
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
      .type('text/event-stream; charset=utf-8')
      .send(text)
  })

  done()
}

async function* messages(items: AsyncGenerator<FeedItem>): AsyncGenerator<string> {
  for await (const item of items) {
    if (item.kind === 'quiet') yield ':\n\n'
    else if (item.kind === 'end') yield `event: end\ndata: ${JSON.stringify({ reason: item.reason })}\n\n`
    else yield item.events.map(message).join('')
  }
}

/** What is sent of an event, made once for all who watch. */
const MESSAGES = new WeakMap<LockEvent, string>()

function message(event: LockEvent): string {
  let text = MESSAGES.get(event)
  if (text === undefined) {
    text = `id: ${event.eventId}\nevent: ${event.kind}\ndata: ${JSON.stringify(eventBody(event))}\n\n`
    MESSAGES.set(event, text)
  }
  return text
}
