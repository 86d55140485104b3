import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { STATUS_OF, type ErrorCode } from './errors.js'
import { ANSWER_HEADERS, newRequestId, requestIdOf } from './gate.js'

const JSON_TYPE = 'application/json; charset=utf-8'

/**
 * Answers bytes that are no HTTP request, or not one in time: no route has been reached, only the socket is there. The
 * connection ends with it, since nobody can say where a next request would begin.
 */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  // The client has gone.
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  if (socket.writable) socket.write(answerTo(error.code))
  socket.destroy(error)
}

/** Answers a request that expects something other than `100-continue`, which Node.js keeps from all routes. */
export function answerExpectation(request: IncomingMessage, response: ServerResponse): void {
  const status = STATUS_OF.EXPECTATION_FAILED
  const body = JSON.stringify({ detail: 'No expectation but 100-continue can be met', code: 'EXPECTATION_FAILED' })
  response.writeHead(status, { ...ANSWER_HEADERS, 'x-request-id': requestIdOf(request), 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body), connection: 'close' }).end(body)
}

function answerTo(fault: string | undefined): string {
  switch (fault) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return response('REQUEST_TIMEOUT', 'The request took too long to arrive')
    case 'HPE_HEADER_OVERFLOW':
      return response('HEADERS_TOO_LARGE', 'The headers are larger than 16 KiB')
    case undefined:
    default:
      return response('BAD_REQUEST', 'The request is not valid HTTP')
  }
}

function response(code: ErrorCode, detail: string): string {
  const status = STATUS_OF[code]
  const body = JSON.stringify({ detail, code })
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...Object.entries({ ...ANSWER_HEADERS, 'x-request-id': newRequestId(), 'content-type': JSON_TYPE }).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body
  ].join('\r\n')
}
