import { Readable } from 'node:stream'
import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FeedItem } from '../../locks/event-feed.js'
import type { WatcherQuota } from '../../locks/quotas.js'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { callerOf } from '../caller.js'
import { watchSchema } from '../schemas/watch.js'
import { eventBody } from '../shapes.js'

export interface WatchRoutesOptions {
  readonly locksOf: LocksOf
  readonly watchers: WatcherQuota
}

const COMMENT_EVERY_MS = 15_000

/** Server-sent events (WHATWG HTML, section 9.2) of what happens to locks. */
export const watchRoutes: FastifyPluginCallbackTypebox<WatchRoutesOptions> = (app, { locksOf, watchers }, done) => {
  app.get('/locks/watch', { schema: watchSchema }, (request, reply) => {
    const last = request.headers['last-event-id']
    const leave = watchers.enter(callerOf(request))
    const gone = new AbortController()
    reply.raw.once('close', () => {
      leave()
      gone.abort()
    })
    const { prefix = '', process_id: processId = null } = request.query
    const after = last === undefined ? null : Number(last)
    const items = locksOf(request.apiKey).watch({ prefix, processId, after }, COMMENT_EVERY_MS, gone.signal)
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
    else yield `id: ${item.event.eventId}\nevent: ${item.event.kind}\ndata: ${JSON.stringify(eventBody(item.event))}\n\n`
  }
}
