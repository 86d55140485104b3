import { HttpLocks, type HttpLocksOptions } from '../client/index.js'
import { UsageError } from './errors.js'
import type { Screen } from './screen.js'

const DEFAULT_URL = 'http://127.0.0.1:8000'
/** Whoever only wants to look can look again. */
const RETRY_SECONDS = 2

/** What a command works with. */
export interface Session {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly out: Screen
  readonly err: Screen
}

export interface Command {
  /** What follows `rlm`. */
  readonly usage: string
  /** One line for the list of commands. */
  readonly summary: string
  /** The rest of its help: options, exit codes. */
  readonly help: string
  /** Resolves to the exit code. What it throws is told by `failureOf`. */
  readonly run: (args: readonly string[], session: Session) => Promise<number>
}

/**
 * A client of the service that `RLM_URL` and `RLM_API_KEY` name.
 *
 * @throws UsageError when one of them makes no sense.
 */
export function connect({ env }: Session, options: Pick<HttpLocksOptions, 'processId' | 'retrySeconds' | 'fetch'> = {}): HttpLocks {
  const apiKey = nonEmpty(env['RLM_API_KEY'])
  // The key itself is not repeated: messages end up in logs.
  if (apiKey !== undefined && !/^[\u0021-\u007E]+$/.test(apiKey)) throw new UsageError('RLM_API_KEY holds characters that no key has')
  return new HttpLocks({ url: urlOf(env), apiKey, retrySeconds: RETRY_SECONDS, ...options })
}

/** Where the service is. */
export function urlOf(env: Session['env']): string {
  const text = nonEmpty(env['RLM_URL']) ?? DEFAULT_URL
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw new UsageError(`RLM_URL is '${text}'; expected an http: or https: URL`)
  if (url.username !== '' || url.password !== '') throw new UsageError('RLM_URL holds a user or a password; the service knows keys: RLM_API_KEY')
  return text
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim()
}
