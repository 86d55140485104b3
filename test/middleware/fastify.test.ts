import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import { InMemoryLock } from '../../src/locking/index.js'
import { documentGuards, withResourceLock } from '../../src/middleware/fastify.js'
import { Deferred, testGuards, testResourceLock, type GuardedSite } from '../support/guarded-site.js'

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
    const { status, body } = await handler(request.url)
    void reply.code(status)
    return body
  }
  const app = base()
  app.post('/quotes/:id/edit', { preHandler: acquireDocumentLock('id') }, answer)
  app.put('/quotes/:id', { preHandler: releaseDocumentLock('id') }, answer)
  app.get('/wrong/:other', { preHandler: acquireDocumentLock('id') }, answer)
  return listen(app)
})

testResourceLock('Fastify', ({ locks, handler, faults }) => {
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
      { onFault: (error) => faults.push(error) }
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
  t.ok(await locks.tryAcquire('a', 1))
})
