import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type ErrorRequestHandler, type Express, type Request, type RequestHandler, type Response } from 'express'
import express4 from 'express4'
import t, { type Test } from 'tap'
import { HttpLocks } from '../../src/client/index.js'
import { InMemoryLock } from '../../src/embedded/index.js'
import { documentGuards, withResourceLock } from '../../src/middleware/express.js'
import { DATABASES } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Deferred, testGuards, testResourceLock, type GuardedSite } from './guarded-site.js'

declare module 'express-serve-static-core' {
  interface Request {
    user?: { id: string; username?: string }
  }
}

const signIn: RequestHandler = (request, _response, next) => {
  const id = request.header('x-user')
  if (id !== undefined) request.user = { id, username: `${id}’s name` }
  next()
}

const answerError: ErrorRequestHandler = (error: unknown, _request, response, _next) => void response.status(500).json({ error: String(error) })

/** The routes of the documented integration. */
function site(framework: typeof express, { documents, handler, faults }: Parameters<Parameters<typeof testGuards>[1]>[0]): Express {
  const { acquireDocumentLock, releaseDocumentLock } = documentGuards(documents, { onFault: (error) => faults.push(error) })
  const answer: RequestHandler = (request, response, next) => {
    handler(request.path).then((given) => given === undefined || response.status(given.status).json(given.body), next)
  }
  return framework()
    .use(signIn)
    .post('/quotes/:id/edit', acquireDocumentLock('id'), answer)
    .put('/quotes/:id', releaseDocumentLock('id'), answer)
    .put('/strict/:id', documentGuards(documents, { requireLock: true }).releaseDocumentLock('id'), answer)
    .get('/wrong/:other', acquireDocumentLock('id'), answer)
    .use(answerError)
}

const listen = (app: Express): GuardedSite => createServer(app)

for (const [name, framework] of [['Express 5', express], ['Express 4', express4]] as const) {
  testGuards(name, (bench) => listen(site(framework, bench)), framework === express ? DATABASES : ['sqlite'])

  testResourceLock(name, ({ locks, timeoutSeconds = 30, handler, faults }) =>
    listen(
      framework()
        .post(
          '/orders/:id',
          withResourceLock(
            locks,
            (request: Request) => `order:${String(request.params['id'])}`,
            async (_request, response: Response, lock) => {
              const { status, body } = await handler(lock)
              response.status(status).json(body)
            },
            { timeoutSeconds, onFault: (error) => faults.push(error) }
          )
        )
        .use(answerError)
    )
  )
}

void t.test('a handler of Express that answers later keeps its lock until then', async (t: Test) => {
  const locks = new InMemoryLock()
  const answering = new Deferred()
  const app = express().get(
    '/',
    withResourceLock(locks, () => 'a', (_request: Request, response: Response) => {
      answering.give(() => void response.json({ done: true }))
    })
  )
  const server = listen(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const asking = fetch(`http://127.0.0.1:${port}/`)
  const answer = await answering.given
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 409)
  answer()
  t.same(await (await asking).json(), { done: true })
  await eventually('the release', async () => (await locks.tryAcquire('a', 1)) !== undefined || undefined)
  server.closeAllConnections()
  server.close()
})

void t.test('the handler is handed the lock of its own back end', (t) => {
  const locks = new HttpLocks()
  withResourceLock(locks, () => 'a', (_request: Request, response: Response, { signal, fencingToken }) => response.json({ signal, fencingToken }))
  t.end()
})
