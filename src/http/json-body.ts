import type { FastifyRequest } from 'fastify'
import { InvalidRequestError } from './errors.js'

/**
 * Reads a JSON body. An empty one counts as none, since many clients name a content type on calls without a body.
 * `__proto__` is refused rather than dropped.
 */
export function readJson(_request: FastifyRequest, text: string, done: (error: Error | null, body?: unknown) => void): void {
  if (text === '') return done(null, undefined)
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return done(invalid('json_invalid', 'The body is not valid JSON'))
  }
  // The name may be written with escapes, so that the parsed body decides; the text alone only spares the search.
  if (/__proto__|\\u00/i.test(text) && hasProto(body)) return done(invalid('value_error', 'The body has a property named __proto__'))
  return done(null, body)
}

function hasProto(value: unknown): boolean {
  const waiting: unknown[] = [value]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next !== 'object' || next === null) continue
    if (Object.hasOwn(next, '__proto__')) return true
    for (const inner of Object.values(next)) if (typeof inner === 'object' && inner !== null) waiting.push(inner)
  }
  return false
}

function invalid(type: string, msg: string): InvalidRequestError {
  return new InvalidRequestError([{ type, loc: ['body'], msg }])
}
