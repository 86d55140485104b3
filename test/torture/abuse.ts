import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BadRequest, BadRequests, GARBAGE } from '../support/bad-requests.js'
import { attackOf, type Attack } from './attacks.js'
import { samplesIn } from '../support/metrics.js'
import type { OpenApi } from '../support/openapi.js'
import { Random } from '../support/random.js'

export interface AbuseOptions {
  readonly requests: number
  readonly seed: number
  /** A key of the service that most requests bear; the others bear none, or one that is guessed. */
  readonly secret?: string | undefined
  /** Told how many requests have been answered, at most a hundred times. */
  readonly onProgress?: (done: number) => void
}

export interface Memory {
  readonly heapBytes: number
  readonly residentBytes: number
  /** The longest time that the event loop was held up since the last look, in seconds. */
  readonly stallSeconds: number
}

export interface AbuseReport {
  /** How often each status was answered; 0 where the connection was only closed. */
  readonly statuses: ReadonlyMap<number, number>
  /** What should not have happened, in sentences; the first of them. */
  readonly faults: readonly string[]
  /** Along the way, at most a hundred times. */
  readonly memory: readonly Memory[]
}

const AT_ONCE = 32
const MOST_FAULTS = 20
/** One in so many is an attack. */
const ATTACK_EVERY = 20
/** One in so many goes to a socket of its own, byte for byte. */
const RAW_EVERY = 50

/** Sends bad requests, made from the document of the service and from a list of garbage, and watches what it makes of them. */
export async function abuse(url: string, { requests, seed, secret, onProgress = () => undefined }: AbuseOptions): Promise<AbuseReport> {
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as OpenApi
  const random = new Random(seed)
  const bad = new BadRequests(document, random)
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })
  const statuses = new Map<number, number>()
  const faults: string[] = []
  const memory: Memory[] = []
  const between = Math.max(500, Math.floor(requests / 100))
  let sent = 0

  const one = async (): Promise<void> => {
    const raw = sent % RAW_EVERY === 0 ? { text: garbageOf(random) } : sent % ATTACK_EVERY === 1 ? attackOf(random) : undefined
    const wrong = bad.next()
    const shown = secret === undefined ? undefined : random.weighted(KEYS).of(secret)
    const [what, status] = raw === undefined ? [describe(wrong), await send(url, agent, wrong, shown)] : [JSON.stringify(raw.text.slice(0, 200)), await sendRaw(url, raw)]
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    // The other systems' calls take what they are given as their originals did; the lock calls are strict.
    const isStrict = raw === undefined && wrong.url.startsWith('/locks/')
    if ((status >= 500 || (isStrict && status < 400)) && faults.length < MOST_FAULTS) faults.push(`${status}: ${what}`)
  }
  const worker = async (): Promise<void> => {
    while (sent < requests) {
      sent += 1
      if (sent % between === 0) {
        onProgress(sent)
        memory.push(await memoryOf(url, secret))
      }
      await one()
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  agent.destroy()
  return { statuses, faults, memory }
}

const KEYS: readonly { readonly weight: number; readonly of: (secret: string) => string | undefined }[] = [
  { weight: 8, of: (secret) => secret },
  { weight: 1, of: () => undefined },
  { weight: 1, of: (secret) => `${secret.slice(0, -1)}!` }
]

/**
 * How much the memory has grown, in bytes: between the first half, once the service has seen everything, and the last fifth;
 * of the heap its lowest points count, since it is only tidied up now and then.
 */
export function growthOf(memory: readonly Memory[]): Omit<Memory, 'stallSeconds'> {
  const early = memory.slice(Math.floor(memory.length * 0.3), Math.floor(memory.length * 0.5))
  const late = memory.slice(Math.floor(memory.length * 0.8))
  const least = (of: readonly Memory[], what: keyof Memory): number => Math.min(...of.map((one) => one[what]))
  return { heapBytes: least(late, 'heapBytes') - least(early, 'heapBytes'), residentBytes: least(late, 'residentBytes') - least(early, 'residentBytes') }
}

const describe = ({ method, url, contentType, body }: BadRequest): string => `${method} ${url.slice(0, 200)} ${contentType} ${body.toString('latin1').slice(0, 300)}`

function send(base: string, agent: Agent, { method, url, contentType, body }: BadRequest, secret?: string): Promise<number> {
  const { hostname, port } = new URL(base)
  const headers = { ...bearer(secret), ...(body.length === 0 ? {} : { 'content-type': contentType, 'content-length': body.length }) }
  return new Promise((resolve, reject) => {
    const sending = request({ agent, hostname, port, method, path: url, headers }, (response) => {
      // A stream that was begun never ends.
      if (response.headers['content-type']?.startsWith('text/event-stream')) {
        resolve(response.statusCode ?? 0)
        response.destroy()
        return
      }
      response.resume()
      response.once('end', () => resolve(response.statusCode ?? 0))
      response.once('error', reject)
    })
    // A connection that the server closed while it was idle says nothing about the request.
    sending.once('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve(0) : reject(error)))
    sending.end(body)
  })
}

const bearer = (secret: string | undefined): Readonly<Record<string, string>> => (secret === undefined ? {} : { authorization: `Bearer ${secret}` })

/** Resolves to the first status that is answered; 0 when the connection is closed, when nothing comes for a while, and where nobody reads. */
async function sendRaw(base: string, { text: bytes, unread = false }: Attack): Promise<number> {
  const socket = connect(Number(new URL(base).port), '127.0.0.1').on('error', () => undefined)
  const closed = once(socket, 'close').then(() => 0)
  if (unread) {
    await Promise.race([new Promise((resolve) => socket.write(Buffer.from(bytes, 'latin1'), resolve)), closed])
    socket.destroy()
    return 0
  }
  const answered = once(socket.setEncoding('latin1'), 'data').then(([text]) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(String(text))?.[1]))
  socket.write(Buffer.from(bytes, 'latin1'))
  const status = await Promise.race([answered.catch(() => 0), closed, sleep(250, 0, { ref: false })])
  socket.destroy()
  return status
}

/** One of the list, as it is or with some of its bytes changed. */
function garbageOf(random: Random): string {
  const [, text] = random.pick(GARBAGE)
  if (random.chance(0.5)) return text
  const at = random.whole(0, text.length - 1)
  return text.slice(0, at) + String.fromCharCode(random.whole(0, 255)) + text.slice(at + random.whole(0, 3))
}

async function memoryOf(url: string, secret?: string): Promise<Memory> {
  const samples = samplesIn(await (await fetch(`${url}/metrics`, { headers: bearer(secret) })).text())
  const valueOf = (name: string): number => samples.find((sample) => sample.name === name)?.value ?? Number.NaN
  return { heapBytes: valueOf('nodejs_heap_size_used_bytes'), residentBytes: valueOf('process_resident_memory_bytes'), stallSeconds: valueOf('nodejs_eventloop_lag_max_seconds') }
}
