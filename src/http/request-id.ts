import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

const WELL_FORMED = /^[A-Za-z0-9._~:/+=-]{1,128}$/

/** No two processes share it. */
const OURS = `req-${randomBytes(6).toString('hex')}-`
let last = 0

export function newRequestId(): string {
  last += 1
  return OURS + last.toString(36)
}

/** The caller's `x-request-id` where it sent one of 1 to 128 letters, digits and `._~:/+=-`, else one of ours. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const sent = headers['x-request-id']
  return typeof sent === 'string' && WELL_FORMED.test(sent) ? sent : newRequestId()
}
