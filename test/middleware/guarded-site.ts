import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import t from 'tap'
import { HttpLocks } from '../../src/client/index.js'
import { createLocks, type EmbeddedLocks, type Lock, type LockApi } from '../../src/embedded/index.js'
import { resourceName } from '../../src/locks/lock.js'
import { openKeys } from '../../src/storage/index.js'
import { cuttableLocks } from '../support/lock-apis.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase, type DatabaseName } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { newKey } from '../support/app.js'
import { temporaryFolder } from '../support/program.js'
import { Proxy } from '../support/proxy.js'
import { Service } from '../support/service.js'

/** A server that does not listen yet. */
export type GuardedSite = Server

interface HandlerAnswer {
  readonly status: number
  readonly body: unknown
}

interface GuardBench {
  readonly documents: EmbeddedLocks['documents']
  /** What a route does once its guard let it pass; one that only returns answers nothing. */
  readonly handler: (path: string) => Promise<HandlerAnswer | undefined>
  readonly faults: unknown[]
}

const startEditing = async (): Promise<HandlerAnswer | undefined> => ({ status: 200, body: { message: 'Editing started' } })
const answerNothing = async (): Promise<HandlerAnswer> => ({ status: 200, body: {} })

/** Something that comes later from elsewhere. */
export class Deferred<Thing = () => void> {
  give: (thing: Thing) => void = () => undefined
  readonly given = new Promise<Thing>((resolve) => (this.give = resolve))
}

interface Listening extends AsyncDisposable {
  readonly url: string
  readonly port: number
}

async function listening(site: GuardedSite | Promise<GuardedSite>): Promise<Listening> {
  const server = await site
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
}

/** The guards of documents, the same on every framework. `/strict` has one with `requireLock`. */
export function testGuards(framework: string, build: (bench: GuardBench) => GuardedSite | Promise<GuardedSite>, kinds: readonly DatabaseName[] = DATABASES): void {
  for (const kind of kinds) {
    void t.test(`document guards on ${framework} (${kind})`, async (t) => {
      await using database = await freshDatabase(kind)
      await using locks = await createLocks({ databaseUrl: database.url, clock: database.now })
      const { documents } = locks
      const faults: unknown[] = []
      let next = startEditing
      await using site = await listening(build({ documents, handler: () => next(), faults }))
      const ask = async (method: string, path: string, user?: string) => {
        const answer = await fetch(site.url + path, { method, ...(user === undefined ? {} : { headers: { 'x-user': user } }) })
        return { status: answer.status, body: await answer.json() }
      }
      /** Sends a request and goes away as soon as its handler runs; resolves when the handler has answered nobody. */
      const abort = async (method: string, path: string, answers = true): Promise<void> => {
        let closed: Promise<unknown> | undefined
        const answered = new Promise<void>((resolve) => {
          next = async () => {
            socket.destroy()
            await closed
            // The server hears of it a moment later.
            await new Promise((later) => setTimeout(later, 100))
            setTimeout(resolve, 20)
            return answers ? { status: 200, body: {} } : undefined
          }
        })
        const socket = connect(site.port, '127.0.0.1')
        closed = once(socket, 'close')
        socket.write(`${method} ${path} HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\ncontent-length: 0\r\n\r\n`)
        await answered
        next = answerNothing
      }

      t.same(await ask('POST', '/quotes/7/edit', 'ann'), { status: 200, body: { message: 'Editing started' } })
      t.same(await documents.getLockInfo('7'), { userId: 'ann', timestamp: START, username: 'ann’s name' })
      t.same(await ask('POST', '/quotes/7/edit', 'bob'), { status: 409, body: { error: 'Document is locked by another user', lockedBy: 'ann' } })
      t.match(await ask('POST', '/quotes/7/edit', 'ann'), { status: 200 }, 'the same user renews')
      t.same(await ask('POST', '/quotes/7/edit'), { status: 401, body: { error: 'Nobody is signed in' } })
      t.match(await ask('POST', '/quotes/%07/edit', 'ann'), { status: 400, body: { error: /control characters/ } })
      t.match(await ask('GET', '/wrong/7', 'ann'), { status: 500, body: { error: /no parameter 'id'/ } })

      next = async () => ({ status: 422, body: { error: 'not like this' } })
      t.match(await ask('PUT', '/quotes/7', 'ann'), { status: 422 })
      t.ok(await documents.isLocked('7'), 'kept, since nothing was saved')
      next = async () => ({ status: 200, body: { message: 'Quote saved successfully' } })
      t.match(await ask('PUT', '/quotes/7', 'bob'), { status: 200 })
      t.ok(await documents.isLocked('7'), 'it is not for others to let go')
      t.match(await ask('PUT', '/quotes/7', 'ann'), { status: 200, body: { message: 'Quote saved successfully' } })
      await eventually('the release after the answer', async () => ((await documents.isLocked('7')) ? undefined : true))

      await documents.acquireLock('8', 'ann')
      await abort('POST', '/quotes/8/edit')
      await abort('PUT', '/quotes/8')
      t.ok(await documents.isLocked('8'), 'the holder before keeps it, and a response that was not received releases nothing')

      for (const [docId, answers] of [['9', false], ['10', true]] as const) {
        await abort('POST', `/quotes/${docId}/edit`, answers)
        await eventually('the grant that was not received to be released', async () => ((await documents.isLocked(docId)) ? undefined : true))
      }

      next = answerNothing
      await documents.acquireLock('11', 'ann')
      t.same(await ask('PUT', '/strict/11', 'bob'), { status: 409, body: { error: 'You do not own this lock', lockedBy: 'ann' } })
      t.same(await ask('PUT', '/strict/12', 'bob'), { status: 409, body: { error: 'No lock exists for this document' } })
      t.match(await ask('PUT', '/strict/11', 'ann'), { status: 200 })
      await eventually('the release after the answer', async () => ((await documents.isLocked('11')) ? undefined : true))
      t.same(faults, [])
    })
  }

  void t.test(`document guards on ${framework} say so when the database is away`, async (t) => {
    await using cuttable = await cuttableLocks()
    const faults: unknown[] = []
    await using site = await listening(build({ documents: cuttable.locks.documents, handler: answerNothing, faults }))
    await cuttable.cut()
    const headers = { 'x-user': 'ann' }
    const acquiring = await fetch(`${site.url}/quotes/7/edit`, { method: 'POST', headers })
    t.match([acquiring.status, await acquiring.json()], [503, { error: 'The lock service is not available' }])
    t.equal((await fetch(`${site.url}/quotes/7`, { method: 'PUT', headers })).status, 200)
    await eventually('the fault', async () => faults[0])
  })
}

interface ResourceBench {
  readonly locks: LockApi
  readonly timeoutSeconds?: number
  readonly handler: (lock: Lock) => Promise<HandlerAnswer>
  readonly faults: unknown[]
}

/** `withResourceLock` around a handler of `POST /orders/:id`, the same on every framework. */
export function testResourceLock(framework: string, build: (bench: ResourceBench) => GuardedSite | Promise<GuardedSite>): void {
  void t.test(`withResourceLock on ${framework}`, async (t) => {
    await using cuttable = await cuttableLocks()
    const { locks } = cuttable
    const faults: unknown[] = []
    let next: (lock: Lock) => Promise<HandlerAnswer> = answerNothing
    await using site = await listening(build({ locks, handler: (lock) => next(lock), faults }))
    const ask = async (id: string) => {
      const answer = await fetch(`${site.url}/orders/${id}`, { method: 'POST' })
      return { status: answer.status, body: await answer.json() }
    }
    const isFree = async () => {
      const lock = await locks.tryAcquire('order:7', 30)
      await lock?.release()
      return lock !== undefined
    }

    const started = new Deferred<Lock>()
    const finished = new Deferred<HandlerAnswer>()
    next = (lock) => {
      started.give(lock)
      return finished.given
    }
    const first = ask('7')
    t.equal((await started.given).type, 'lock')
    t.same(await ask('7'), { status: 409, body: { error: "Resource 'order:7' is locked" } })
    finished.give({ status: 201, body: { done: true } })
    t.same(await first, { status: 201, body: { done: true } })
    await eventually('the release', async () => ((await isFree()) ? true : undefined))

    next = () => Promise.reject(new Error('of the handler'))
    t.match(await ask('7'), { status: 500, body: { error: /of the handler/ } })
    await eventually('the release after an error', async () => ((await isFree()) ? true : undefined))
    t.match(await ask('%07'), { status: 400, body: { error: /control characters/ } })

    const aborted = new Promise<void>((resolve) => {
      next = async () => {
        socket.destroy()
        await new Promise((later) => setTimeout(later, 100))
        t.equal(await isFree(), false, 'the handler still works for nobody, but alone')
        resolve()
        return { status: 200, body: {} }
      }
    })
    const socket = connect(site.port, '127.0.0.1')
    socket.write('POST /orders/7 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n')
    await aborted
    await eventually('the release after an abort', async () => ((await isFree()) ? true : undefined))

    next = async () => {
      await cuttable.cut()
      return { status: 200, body: { done: true } }
    }
    t.match(await ask('7'), { status: 200 }, 'the answer stands although the release fails')
    await eventually('the fault', async () => faults[0])
    t.match(await ask('7'), { status: 503, body: { error: 'The lock service is not available' } })
  })

  void t.test(`withResourceLock on ${framework} keeps its lock for longer than a lease`, async (t) => {
    await using service = await Service.start()
    await using database = await freshDatabase('sqlite', 'real')
    await using embedded = await createLocks({ databaseUrl: database.url })
    const ends: readonly (readonly [LockApi, () => Promise<unknown>])[] = [
      [new HttpLocks({ url: service.url }), async () => (await service.status('order:7')).body.data?.['expires_at']],
      [embedded, async () => (await embedded.service.inspect(resourceName('order:7'))).grant?.expiresAt]
    ]
    for (const [locks, endOf] of ends) {
      const finished = new Deferred<HandlerAnswer>()
      const started = new Deferred<Lock>()
      const handler = (lock: Lock): Promise<HandlerAnswer> => {
        started.give(lock)
        return finished.given
      }
      const faults: unknown[] = []
      await using site = await listening(build({ locks, timeoutSeconds: 6, handler, faults }))
      const first = fetch(`${site.url}/orders/7`, { method: 'POST' })
      first.catch(() => undefined)
      await started.given
      const end = await endOf()
      await eventually('it is renewed, or over', async () => ((await endOf()) === end ? undefined : true))
      t.equal((await fetch(`${site.url}/orders/7`, { method: 'POST' })).status, 409)
      finished.give({ status: 200, body: {} })
      t.equal((await first).status, 200)
      await eventually('the release', async () => ((await endOf()) ?? null) === null || undefined)
      t.same(faults, [])
    }
  })

  void t.test(`withResourceLock on ${framework} answers without waiting for the release`, async (t) => {
    await using service = await Service.start()
    await using proxy = await Proxy.start(service.port)
    const locks = new HttpLocks({ url: proxy.through(service.url), timeoutSeconds: 600, retrySeconds: 600 })
    let held: Promise<void> | undefined
    const handler = async (): Promise<HandlerAnswer> => {
      held = proxy.hold('requests')
      return { status: 200, body: {} }
    }
    await using site = await listening(build({ locks, handler, faults: [] }))
    t.equal((await fetch(`${site.url}/orders/7`, { method: 'POST' })).status, 200)
    await held
    t.match((await service.status('order:7')).body.data, { is_locked: true }, 'the release is still under way')
    proxy.cut()
    await eventually('the release', async () => (await service.status('order:7')).body.data?.['is_locked'] === false || undefined)
  })

  void t.test(`on ${framework}, a key that the service refuses is no fault of the user`, async (t) => {
    await using folder = await temporaryFolder()
    const databaseUrl = `sqlite:${folder.path}/locks.db`
    {
      await using opened = await openKeys(databaseUrl)
      await opened.keys.create(newKey('worker'))
    }
    await using service = await Service.start({ settings: { DATABASE_URL: databaseUrl } })
    await using site = await listening(build({ locks: new HttpLocks({ url: service.url }), handler: answerNothing, faults: [] }))
    const answer = await fetch(`${site.url}/orders/7`, { method: 'POST' })
    t.match([answer.status, await answer.json()], [500, { error: /The lock service refused the guard: UNAUTHORIZED/ }])
  })
}
