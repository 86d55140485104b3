import { isUtf8 } from 'node:buffer'
import { errorCodes, type FastifyRequest } from 'fastify'
import { InvalidRequestError } from './errors.js'

type Done = (error: Error | null, body?: unknown) => void

/**
 * Reads a JSON body. An empty one counts as none, since many clients name a content type on calls without a body.
 * `__proto__` is refused rather than dropped, and so is a property that comes twice: whoever checked the body on its way may
 * have looked at the other one.
 */
export function readJson(_request: FastifyRequest, bytes: Buffer, done: Done): void {
  if (bytes.length === 0) return done(null, undefined)
  // Decoding would replace what is no UTF-8 and so make one name of two.
  if (!isUtf8(bytes)) return done(invalid('json_invalid', 'The body is not valid UTF-8'))
  const text = bytes.toString('utf8')
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return done(invalid('json_invalid', 'The body is not valid JSON'))
  }
  // The name may be written with escapes, so that the parsed body decides; the text alone only spares the search.
  if (/__proto__|\\u00/i.test(text) && hasProto(body)) return done(invalid('value_error', 'The body has a property named __proto__'))
  if (colonsIn(bytes) !== propertiesIn(body)) return done(invalid('value_error', 'The body has a property twice'))
  return done(null, body)
}

/** Any other content type is refused, unless nothing is sent under it or the path is unknown anyway. */
export function refuseOtherTypes(request: FastifyRequest, _payload: unknown, done: Done): void {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
  const empty = length === '0' && encoding === undefined
  if (empty || request.is404) return done(null, undefined)
  done(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE())
}

function hasProto(body: unknown): boolean {
  for (const object of objectsIn(body)) if (Object.hasOwn(object, '__proto__')) return true
  return false
}

function propertiesIn(body: unknown): number {
  let properties = 0
  for (const object of objectsIn(body)) if (!Array.isArray(object)) properties += Object.keys(object).length
  return properties
}

/** Every object and list in a body; not by recursion, since a body may be nested deeper than the stack goes. */
function* objectsIn(body: unknown): Generator<object> {
  const waiting: unknown[] = [body]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next !== 'object' || next === null) continue
    yield next
    for (const inner of Object.values(next)) if (typeof inner === 'object' && inner !== null) waiting.push(inner)
  }
}

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a]

/** How many properties valid JSON spells out: each has a colon, and every other colon is inside a string. */
function colonsIn(bytes: Buffer): number {
  let colons = 0
  let inString = false
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at]
    if (byte === QUOTE) inString = !inString
    else if (inString && byte === BACKSLASH) at += 1
    else if (!inString && byte === COLON) colons += 1
  }
  return colons
}

function invalid(type: string, msg: string): InvalidRequestError {
  return new InvalidRequestError([{ type, loc: ['body'], msg }])
}
