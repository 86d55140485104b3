import { Session, type Profiler } from 'node:inspector'
import { fileURLToPath } from 'node:url'
import { buildApp } from '../../src/app.js'
import { LockService } from '../../src/locks/lock-service.js'
import { openStore } from '../../src/storage/index.js'

const COMPILED = /\/dist\/(src\/.+)\.js$/

/** Every file of `src` in which a function runs while one free lock is requested over HTTP, the SQLite worker's included. */
export async function filesOfAnAcquire(databaseUrl: string): Promise<string[]> {
  // The worker does not keep the process alive while it answers.
  const alive = setInterval(() => {}, 1000)
  const session = new Session()
  session.connect()
  const workers = new Workers(session)
  await using store = await openStore({ databaseUrl })
  await using app = await buildApp({ locks: new LockService(store, { defaultTtlMs: null }), maxTtlSeconds: 3600, maxWaitSeconds: 0 })
  const request = async (name: string): Promise<void> => {
    const { statusCode } = await app.inject({ method: 'POST', url: '/locks/request', payload: { resource_name: name, process_id: 'house', ttl_seconds: 1 } })
    if (statusCode !== 200) throw new Error(`the request for ${name} was answered ${statusCode}`)
  }
  // What runs once, at the first request, belongs to the start.
  await request(`first-${process.pid}`)
  const everywhere = [session, workers.only].filter((one) => one !== undefined)
  for (const one of everywhere) await post(one, 'Profiler.enable')
  for (const one of everywhere) await post(one, 'Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  await request(`second-${process.pid}`)
  const taken = await Promise.all(everywhere.map((one) => post<Profiler.TakePreciseCoverageReturnType>(one, 'Profiler.takePreciseCoverage')))
  for (const one of everywhere) await post(one, 'Profiler.stopPreciseCoverage')
  session.disconnect()
  clearInterval(alive)
  const ran = taken
    .flatMap(({ result }) => result)
    .filter(({ functions }) => functions.some(({ ranges }) => (ranges[0]?.count ?? 0) > 0))
    .flatMap(({ url }) => (url.startsWith('file:') ? (COMPILED.exec(fileURLToPath(url))?.[1] ?? []) : []))
  return [...new Set(ran)].toSorted()
}

interface Poster {
  post(method: string, params: object, answer: (error: Error | null, result?: unknown) => void): void
}

function post<Result>(to: Poster, method: string, params: object = {}): Promise<Result> {
  return new Promise((resolve, reject) => {
    to.post(method, params, (error, result) => (error === null ? resolve(result as Result) : reject(error)))
  })
}

/** The worker threads of this process, each as something that takes inspector commands. */
class Workers {
  only: Poster | undefined

  constructor(session: Session) {
    session.on('NodeWorker.attachedToWorker', ({ params: { sessionId } }) => {
      const answers = new Map<number, (error: Error | null, result?: unknown) => void>()
      session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
        if (params.sessionId !== sessionId) return
        const { id, result } = JSON.parse(params.message) as { id?: number; result?: unknown }
        if (id !== undefined) answers.get(id)?.(null, result)
      })
      this.only = {
        post(method, params, answer) {
          const id = answers.size + 1
          answers.set(id, answer)
          session.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify({ id, method, params }) })
        }
      }
    })
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false })
  }
}
