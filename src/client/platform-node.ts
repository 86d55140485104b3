import { AsyncLocalStorage } from 'node:async_hooks'
import * as http from 'node:http'
import * as https from 'node:https'
import { hostname, uptime } from 'node:os'
import { Readable } from 'node:stream'
import { LockReentryError } from './errors.js'

/*
 * What the client needs of Node. Pages get `platform-page.ts`: the `imports` of package.json choose.
 */

/** A clock that counts sleep and that nobody can set, in milliseconds. */
export const clockWithSleep = (): number => uptime() * 1000

/** Says where the holder runs; the random part tells it from earlier processes with the same id. */
export function ownProcessId(random: string): string {
  return `${hostname().slice(0, 200)}/${process.pid}/${random.slice(0, 8)}`
}

/** Why a request failed; the network's own error is the deepest cause of what `fetch` throws. */
export function reasonOf(error: unknown): string {
  let deepest = error
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause
  if (!(deepest instanceof Error)) return String(deepest)
  const code = 'code' in deepest && typeof deepest.code === 'string' ? deepest.code : ''
  const reason = /REFUSED/.test(code)
    ? 'nothing listens there'
    : /ENOTFOUND|EAI_/.test(code)
      ? 'its name is unknown'
      : /CERT|SIGNED|VERIFY|ALTNAME/.test(code)
        ? 'its certificate is not trusted'
        : deepest.message
  return code === '' || reason.includes(code) ? reason : `${reason} (${code})`
}

interface NamedLock {
  readonly resourceName: string
  readonly held: boolean
}

/** The locks that a flow of calls works under. */
const FLOW = new AsyncLocalStorage<readonly (readonly [locks: object, lock: NamedLock])[]>()

/**
 * The lock of that name that the flow works under already.
 *
 * @throws LockReentryError when it has one and `reentrant` is not true.
 */
export function outerLock(locks: object, resourceName: string, reentrant: boolean | undefined): NamedLock | undefined {
  const outer = FLOW.getStore()?.find(([owner, lock]) => owner === locks && lock.resourceName === resourceName && lock.held)
  if (outer !== undefined && reentrant !== true) throw new LockReentryError(resourceName)
  return outer?.[1]
}

/** Runs work under a lock. */
export function runInFlow<Result>(locks: object, lock: NamedLock, work: () => Result): Result {
  return FLOW.run([...(FLOW.getStore() ?? []), [locks, lock]], work)
}

/** Keeps a timer from keeping the process alive. */
export function unref(timer: ReturnType<typeof setTimeout>): void {
  timer.unref()
}

interface Init {
  readonly method: string
  readonly headers: Record<string, string>
  readonly signal: AbortSignal
}

/** A `fetch` whose connection does not keep the process alive. */
export function fetchInBackground(url: URL, { method, headers, signal }: Init): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { request } = url.protocol === 'https:' ? https : http
    const sent = request(url, { method, headers, signal, agent: false }, (incoming) => {
      const { statusCode: status = 502, headers: { location = '' } } = incoming
      const isBodiless = [204, 205, 304].includes(status)
      resolve(new Response(isBodiless ? null : (Readable.toWeb(incoming) as ReadableStream<Uint8Array>), { status, headers: { location } }))
    })
    sent.on('socket', (socket) => socket.unref())
    sent.on('error', reject)
    sent.end()
  })
}
