import { Agent, request } from 'node:http'

export interface HttpAnswer {
  readonly status: number
  readonly body: { readonly [field: string]: unknown; readonly data?: Readonly<Record<string, unknown>> }
}

/** What became of a call: an answer, nothing since nobody listened, or nobody knows. */
export type CallOutcome = HttpAnswer | 'refused' | 'lost'

export interface Call {
  readonly method: string
  readonly path: string
  readonly body?: object | undefined
  /** The API key that is shown. */
  readonly secret: string
  /** Then the connection is given up, and with it the answer. */
  readonly withinMs: number
}

const agent = new Agent({ keepAlive: true, maxSockets: 128 })

export function call(base: string, { method, path, body, secret, withinMs }: Call): Promise<CallOutcome> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const type = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  const headers = { authorization: `Bearer ${secret}`, ...type }
  return new Promise((resolve) => {
    const asked = request(base + path, { method, agent, headers }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (answer += chunk))
      response.on('error', () => settle('lost'))
      response.on('end', () => settle(response.complete ? { status: response.statusCode ?? 0, body: JSON.parse(answer) as HttpAnswer['body'] } : 'lost'))
    })
    const timer = setTimeout(() => asked.destroy(), withinMs)
    const settle = (outcome: CallOutcome): void => {
      clearTimeout(timer)
      resolve(outcome)
    }
    asked.on('error', (error: NodeJS.ErrnoException) => settle(error.code === 'ECONNREFUSED' ? 'refused' : 'lost'))
    // A request that is destroyed before a response began emits nothing else.
    asked.on('close', () => settle('lost'))
    asked.end(text)
  })
}

/** Closes the connections that are kept for later calls. */
export function hangUp(): void {
  agent.destroy()
}
