import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import { InMemoryLock } from '../../src/embedded/index.js'
import { documentGuards, withResourceLock } from '../../src/middleware/fastify.js'
import { eventually } from '../support/eventually.js'
import { Deferred, testGuards, testResourceLock, type GuardedSite } from './guarded-site.js'

declare module 'fastify' {
  interface FastifyRequest {
    user?: { id: string; username?: string }
  }
}

function base(): FastifyInstance {
  return Fastify()
    .addHook('onRequest', async (request) => {
      const id = request.headers['x-user']
      if (typeof id === 'string') request.user = { id, username: `${id}’s name` }
    })
    .setErrorHandler((error, _request, reply) => reply.code(500).send({ error: String(error) }))
}

async function listen(app: FastifyInstance): Promise<GuardedSite> {
  await app.ready()
  return app.server
}

testGuards('Fastify', ({ documents, handler, faults }) => {
  const { acquireDocumentLock, releaseDocumentLock } = documentGuards(documents, { onFault: (error) => faults.push(error) })
  const answer = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const given = await handler(request.url)
    if (given !== undefined) void reply.code(given.status)
    return given?.body
  }
  const app = base()
  app.post('/quotes/:id/edit', { preHandler: acquireDocumentLock('id') }, answer)
  app.put('/quotes/:id', { preHandler: releaseDocumentLock('id') }, answer)
  app.put('/strict/:id', { preHandler: documentGuards(documents, { requireLock: true }).releaseDocumentLock('id') }, answer)
  app.get('/wrong/:other', { preHandler: acquireDocumentLock('id') }, answer)
  return listen(app)
})

testResourceLock('Fastify', ({ locks, timeoutSeconds = 30, handler, faults }) => {
  const app = base()
  app.post<{ Params: { id: string } }>(
    '/orders/:id',
    withResourceLock(
      locks,
      (request: FastifyRequest<{ Params: { id: string } }>) => `order:${request.params.id}`,
      async (_request, reply: FastifyReply, lock) => {
        const { status, body } = await handler(lock)
        void reply.code(status)
        return body
      },
      { timeoutSeconds, onFault: (error) => faults.push(error) }
    )
  )
  return listen(app)
})

void t.test('a handler of Fastify that answers later keeps its lock until then', async (t) => {
  const locks = new InMemoryLock()
  const app = Fastify()
  const answering = new Deferred()
  app.get(
    '/',
    withResourceLock(locks, () => 'a', (_request, reply: FastifyReply): undefined => {
      answering.give(() => void reply.send({ done: true }))
    })
  )
  const asking = app.inject('/')
  const answer = await answering.given
  t.equal((await app.inject('/')).statusCode, 409)
  answer()
  t.same((await asking).json(), { done: true })
  await eventually('the release', async () => (await locks.tryAcquire('a', 1)) !== undefined || undefined)
})

void t.test('a handler of Fastify that answers by a stream, or by itself, keeps its lock until the end', async (t) => {
  const locks = new InMemoryLock()
  const app = Fastify()
  const streams: PassThrough[] = []
  const start = (): PassThrough => {
    const stream = new PassThrough()
    streams.push(stream)
    stream.write('begun ')
    return stream
  }
  app.get('/stream', withResourceLock(locks, () => 'a', async (_request, _reply: FastifyReply) => start()))
  app.get(
    '/hijack',
    withResourceLock(locks, () => 'a', async (_request, reply: FastifyReply): Promise<undefined> => {
      reply.hijack()
      start().pipe(reply.raw)
    })
  )
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  for (const path of ['/stream', '/hijack']) {
    const answer = await fetch(url + path)
    const reader = answer.body?.getReader()
    await reader?.read()
    t.equal(await locks.tryAcquire('a', 1), undefined, `${path}: held while it answers`)
    const stream = streams.pop()
    const ended = stream === undefined ? undefined : once(stream, 'end')
    stream?.end('ended')
    await ended
    await reader?.read()
    const lock = await eventually('the release', () => locks.tryAcquire('a', 1))
    await lock.release()
  }
  await app.close()
})
