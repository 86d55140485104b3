import { Type } from '@sinclair/typebox'
import { ProcessIdSchema } from './common.js'
import { WITH_QUERY } from './grants.js'

const exampleStream = [
  'id: 7',
  'event: granted',
  'data: {"event_id":7,"event":"granted","at":"2024-01-15T10:30:00.123+00:00","resource_name":"database_backup","process_id":"process_123","lock_id":42,"reason":null}',
  '',
  ''
].join('\n')

export const watchSchema = {
  operationId: 'watchLocks',
  tags: ['Administration'],
  summary: 'Watch what happens to locks',
  description:
    'Server-sent events as they are written to the history, by whichever instance: `granted`, `renewed`, `released`, `expired`, `force_released`. ' +
    'A comment comes every 15 seconds. With `Last-Event-ID` the stream goes on after that event. The last event is `end`, with the reason: `too_old` ' +
    '(that id is no longer in the history), `too_slow`, `draining` or `no_history` (HISTORY_RETENTION_DAYS is 0).',
  querystring: Type.Object({
    prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this.' })),
    process_id: Type.Optional(ProcessIdSchema)
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
