import { AsyncLocalStorage } from 'node:async_hooks'
import * as http from 'node:http'
import * as https from 'node:https'
import { hostname, uptime } from 'node:os'
import { Readable } from 'node:stream'

/*
 * What the client needs of Node. Pages get `platform-page.ts`: the `imports` of package.json say who gets which.
 */

/** A clock that counts sleep and that nobody can set, in milliseconds. */
export const clockWithSleep = (): number => uptime() * 1000

/** Shows the waiters which process holds a lock; the random part distinguishes processes with the same pid. */
export function ownProcessId(random: string): string {
  return `${hostname().slice(0, 200)}/${process.pid}/${random.slice(0, 8)}`
}

/** What a flow of calls carries along. */
export { AsyncLocalStorage as FlowStorage }

interface Init {
  readonly method: string
  readonly headers: Record<string, string>
  readonly signal: AbortSignal
}

/** A `fetch` whose connection keeps no process alive. */
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
