import { isUtf8 } from 'node:buffer'
import { errorCodes, type FastifyRequest, type RouteOptions } from 'fastify'
import { InvalidRequestError, RefusalError } from './errors.js'

type Done = (error: Error | null, body?: unknown) => void

/**
 * Reads a JSON body. An empty one counts as none, since many clients name a content type on calls without a body.
 * `__proto__` is refused rather than dropped, and so is a property that comes twice: a proxy that checked the body may
 * have looked at the other one. A number that would be stored as another one is refused too.
 */
export function readJson(request: FastifyRequest, bytes: Buffer, done: Done): void {
  if (bytes.length === 0 || request.is404) return done(null, undefined)
  if (isEncoded(request)) return done(encoded())
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
  const { colons, lossyNumber } = spelled(bytes)
  if (colons !== propertiesIn(body)) return done(invalid('value_error', 'The body has a property twice'))
  // The other APIs took any number, and look at few.
  if (lossyNumber !== undefined && request.routeOptions.config.frame === undefined) {
    const shown = lossyNumber.length > 40 ? `${lossyNumber.slice(0, 40)}…` : lossyNumber
    return done(invalid('value_error', `The body has the number ${shown}, which would not be kept as it is; send it as a string`))
  }
  return done(null, body)
}

/** Any other content type is refused, unless nothing is sent under it or the path is unknown anyway. */
export function refuseOtherTypes(request: FastifyRequest, _payload: unknown, done: Done): void {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
  const empty = length === '0' && encoding === undefined
  if (empty || request.is404) return done(null, undefined)
  if (isEncoded(request)) return done(encoded())
  done(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE())
}

function hasProto(body: unknown): boolean {
  for (const object of objectsIn(body)) if (Object.hasOwn(object, '__proto__')) return true
  return false
}

function propertiesIn(body: unknown): number {
  if (isFlat(body)) return Object.keys(body).length
  let properties = 0
  for (const object of objectsIn(body)) if (!Array.isArray(object)) properties += Object.keys(object).length
  return properties
}

/** Nearly every body is an object without objects in it. */
function isFlat(body: unknown): body is object {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return false
  for (const name in body) if (typeof (body as Record<string, unknown>)[name] === 'object') return false
  return true
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

const [QUOTE, BACKSLASH, COLON, MINUS, ZERO, NINE] = [0x22, 0x5c, 0x3a, 0x2d, 0x30, 0x39]
/** The bytes of a number after its first. */
const OF_NUMBER = new Set(Buffer.from('0123456789+-.eE'))
/** So many characters without an exponent are always kept. */
const SURELY_KEPT = 15

interface Spelled {
  /** How many properties there are: each has a colon, and every other colon is inside a string. */
  colons: number
  /** The first number that JavaScript would make another one of; see {@link lossyIn}. */
  lossyNumber: string | undefined
}

/** What valid JSON spells out, and parsing it loses. */
function spelled(bytes: Buffer): Spelled {
  const found: Spelled = { colons: 0, lossyNumber: undefined }
  let inString = false
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0
    if (byte === QUOTE) inString = !inString
    else if (inString) {
      if (byte === BACKSLASH) at += 1
    } else if (byte === COLON) found.colons += 1
    else if ((byte >= ZERO && byte <= NINE) || byte === MINUS) {
      const start = at
      while (OF_NUMBER.has(bytes[at + 1] ?? 0)) at += 1
      found.lossyNumber ??= lossyIn(bytes.toString('latin1', start, at + 1))
    }
  }
  return found
}

/**
 * The number again if a double cannot hold it: it is too large, or so small that 0 would be left of it, or it is an integer
 * beyond 2^53, which is somebody's id rather than a measure. Fractions are rounded to the nearest double, as everywhere.
 */
function lossyIn(number: string): string | undefined {
  if (number.length <= SURELY_KEPT && !/e/i.test(number)) return undefined
  const value = Number(number)
  const kept = /^-?\d+$/.test(number) ? Number.isSafeInteger(value) : Number.isFinite(value) && (value !== 0 || /^[-0.]*(?:e|$)/i.test(number))
  return kept ? undefined : number
}

/** Nothing is decompressed: a few bytes would make a large body. */
function isEncoded({ headers }: FastifyRequest): boolean {
  const encoding = headers['content-encoding']
  return encoding !== undefined && encoding.trim().toLowerCase() !== 'identity' && encoding !== ''
}

function encoded(): RefusalError {
  return new RefusalError('UNSUPPORTED_MEDIA_TYPE', 'The body must be sent as it is, without a Content-Encoding')
}

function invalid(type: string, msg: string): InvalidRequestError {
  return new InvalidRequestError([{ type, loc: ['body'], msg }])
}

/** How numbers are written in a query. Anything else stays text, which no schema of a number accepts. */
const WRITTEN: Readonly<Record<string, RegExp>> = {
  integer: /^(?:0|[1-9][0-9]{0,15})$/,
  number: /^(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?$/
}

/** Stands for bytes that are no UTF-8: no name with it is well formed, so that it is refused instead of quietly replaced. */
const UNREADABLE = '\ud800'

/**
 * More parameters than any call has. Those after them are not read: one of the first is then unknown or given twice, which
 * is refused wherever parameters matter.
 */
export const MAX_PARAMETERS = 32

/** Reads query strings, before anybody is known to be allowed to ask. It happens before the route is known, so that a name is of one type everywhere. */
export class QueryStrings {
  /** The types of the parameters of all routes. */
  readonly #types = new Map<string, unknown>()

  /** @throws Error for a parameter that is of another type elsewhere. */
  readonly learn = ({ url, schema }: Pick<RouteOptions, 'url' | 'schema'>): void => {
    const { properties = {} } = (schema?.querystring ?? {}) as { readonly properties?: Readonly<Record<string, { readonly type?: unknown }>> }
    for (const [name, { type }] of Object.entries(properties)) {
      const known = this.#types.get(name) ?? type
      if (String(known) !== String(type)) throw new Error(`The query parameter '${name}' of ${url} is ${String(type)}, and ${String(known)} elsewhere`)
      this.#types.set(name, type)
    }
  }

  /** A parameter given twice becomes a list, which no schema accepts. */
  readonly parse = (text: string): Record<string, unknown> => {
    const query: Record<string, unknown> = Object.create(null) as Record<string, unknown>
    let read = 0
    for (let start = 0; start < text.length && read < MAX_PARAMETERS; ) {
      const next = text.indexOf('&', start)
      const end = next < 0 ? text.length : next
      if (end > start) {
        this.#addPair(query, text.slice(start, end))
        read += 1
      }
      start = end + 1
    }
    return query
  }

  #addPair(query: Record<string, unknown>, pair: string): void {
    const equals = pair.indexOf('=')
    const name = decode(equals < 0 ? pair : pair.slice(0, equals))
    const raw = equals < 0 ? '' : decode(pair.slice(equals + 1))
    const value = WRITTEN[String(this.#types.get(name))]?.test(raw) === true ? Number(raw) : raw
    const present = query[name]
    if (Array.isArray(present)) present.push(value)
    else query[name] = present === undefined ? value : [present, value]
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text)
  } catch {
    return UNREADABLE
  }
}
