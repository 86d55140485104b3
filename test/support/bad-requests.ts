import { type Documented, type OpenApi, operationsOf } from './openapi.js'
import type { Random } from './random.js'

/** A request to take a lock, as it goes over the wire. */
export const rawPost = (headers: string, body: string) => `POST /locks/request HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`
export const rawGet = (url: string, ...headers: string[]) => [`GET ${url} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n')

/** Bytes that are no request of this service, with the status that answers them. */
export const GARBAGE: readonly (readonly [status: number, text: string, code?: string])[] = [
  [400, 'garbage\r\n\r\n', 'BAD_REQUEST'],
  [400, '\0\x01\x02\x03\r\n\r\n', 'BAD_REQUEST'],
  [400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'BAD_REQUEST'],
  [400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET / HTTP/9.9\r\n\r\n', 'BAD_REQUEST'],
  [400, 'BREW /locks/status HTTP/1.1\r\nHost: localhost\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET /health HTTP/1.1\r\n\r\n', 'BAD_REQUEST'],
  [400, rawGet('/health', 'HOST: localhost'), 'BAD_REQUEST'],
  [400, rawGet('/%', 'host: other'), 'BAD_REQUEST'],
  [400, rawGet('/locks/status?resource_name=\xc3\xbc'), 'BAD_REQUEST'],
  [400, rawGet('/locks/status?resource_name=a\0b'), 'BAD_REQUEST'],
  [400, rawGet('/health', 'no colon'), 'BAD_REQUEST'],
  [400, rawGet('/health', 'X: a\0b'), 'BAD_REQUEST'],
  [404, rawGet('http://[bad/'), 'NOT_FOUND'],
  [404, rawGet('*'), 'NOT_FOUND'],
  [417, rawGet('/health', 'Expect: nonsense'), 'EXPECTATION_FAILED'],
  [431, rawGet('/health', `X: ${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [431, rawGet(`/${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [400, rawPost('Content-Length: -1', '{}'), 'BAD_REQUEST'],
  [400, rawPost('Content-Length: 2\r\nContent-Length: 3', '{}'), 'BAD_REQUEST'],
  [400, rawPost('Content-Length: 2\r\nTransfer-Encoding: chunked', '0\r\n\r\n'), 'BAD_REQUEST'],
  [400, rawPost('Transfer-Encoding: chunked', 'zz\r\n{}\r\n0\r\n\r\n'), 'BAD_REQUEST'],
  [400, rawPost('Transfer-Encoding: chunked, identity', '{}'), 'BAD_REQUEST'],
  [413, rawPost('Content-Length: 65537', ''), 'PAYLOAD_TOO_LARGE'],
  [413, rawPost('Transfer-Encoding: chunked', `11000\r\n${'x'.repeat(0x11000)}\r\n0\r\n\r\n`), 'PAYLOAD_TOO_LARGE'],
  [422, rawPost('Transfer-Encoding: chunked', '2\r\n{}\r\n0\r\n\r\n'), 'INVALID_REQUEST'],
  [422, rawPost('Content-Length: 0', ''), 'INVALID_REQUEST'],
  [422, rawPost('X: y', ''), 'INVALID_REQUEST'],
  [415, rawPost('Content-Length: 4\r\nContent-Encoding: gzip', '\x1f\x8b\x08\x00'), 'UNSUPPORTED_MEDIA_TYPE']
]

export interface BadRequest {
  readonly method: string
  readonly url: string
  readonly contentType: string
  readonly body: Buffer
}

interface PropertySchema {
  readonly type?: string | readonly string[]
  readonly items?: PropertySchema
}

interface BodySchema {
  readonly properties?: Readonly<Record<string, PropertySchema>>
  readonly required?: readonly string[]
}

type Fault = (call: Documented, random: Random) => Partial<BadRequest> | undefined

const JSON_TYPE = 'application/json'
const BAD_NAMES = ['""', '"\\u0000"', '"a\\nb"', '"\\ud800"', '"e\\u0301"', '"\\u202e\\u0085"', `"${'x'.repeat(600)}"`]
const BAD_ENCODED = ['', '%00', 'a%0Ab', '%ED%A0%80', '%ff', '%', 'e%CC%81', 'x'.repeat(256), '%F0%9F%98%80'.repeat(256)]
const BAD_NUMBERS = ['-1', '-1e308', '1e308', '1e999', '0.5.5', 'NaN', '01', '9007199254740993e3']
const OF_TYPE: Readonly<Record<string, string>> = { string: '"text"', number: '1.5', integer: '3', boolean: 'true', array: '[[]]', object: '{"a":{}}', null: 'null' }

const exampleOf = ({ operation }: Documented): Record<string, unknown> | undefined =>
  operation.requestBody?.content[JSON_TYPE]?.example as Record<string, unknown> | undefined
const schemaOf = ({ operation }: Documented): BodySchema => operation.requestBody?.content[JSON_TYPE]?.schema ?? {}
const typesOf = ({ type = [] }: PropertySchema): readonly string[] => [type].flat()

/** The example with one property as that text; in JSON, so that what no value can say can be said. */
function withProperty(call: Documented, name: string, text: string): Buffer {
  const others = Object.entries(exampleOf(call) ?? {}).flatMap(([key, value]) => (key === name ? [] : [`${JSON.stringify(key)}:${JSON.stringify(value)}`]))
  return Buffer.from(`{${[...others, `${JSON.stringify(name)}:${text}`].join(',')}}`)
}

/** What can be wrong with a body. */
const BODY_FAULTS: readonly Fault[] = [
  (call, random) => {
    const { required = [] } = schemaOf(call)
    if (required.length === 0) return undefined
    const missing = random.pick(required)
    return { body: Buffer.from(JSON.stringify({ ...exampleOf(call), [missing]: undefined })) }
  },
  (call, random) => {
    const [name, schema] = random.pick(Object.entries(schemaOf(call).properties ?? {}))
    const right = typesOf(schema)
    // A whole number is a number too.
    const wrong = Object.keys(OF_TYPE).filter((type) => !right.includes(type) && !(type === 'integer' && right.includes('number')))
    return { body: withProperty(call, name, OF_TYPE[random.pick(wrong)] ?? '') }
  },
  (call, random) => {
    const texts = Object.entries(schemaOf(call).properties ?? {}).filter(([name, schema]) => typesOf(schema).includes('string') && !name.endsWith('prefix'))
    if (texts.length === 0) return undefined
    return { body: withProperty(call, random.pick(texts)[0], random.pick(BAD_NAMES)) }
  },
  (call, random) => {
    const numbers = Object.entries(schemaOf(call).properties ?? {}).filter(([, schema]) => typesOf(schema).some((type) => ['number', 'integer'].includes(type)))
    if (numbers.length === 0) return undefined
    return { body: withProperty(call, random.pick(numbers)[0], random.pick(BAD_NUMBERS)) }
  },
  (call) => ({ body: withProperty(call, '__proto__', '{"admin":true}') }),
  (call, random) => {
    const [name, value] = random.pick(Object.entries(exampleOf(call) ?? {}))
    return { body: Buffer.concat([withProperty(call, name, JSON.stringify(value)).subarray(0, -1), Buffer.from(`,${JSON.stringify(name)}:null}`)]) }
  },
  (call, random) => {
    const whole = Buffer.from(JSON.stringify(exampleOf(call)))
    return { body: whole.subarray(0, random.whole(1, whole.length - 1)) }
  },
  (call, random) => ({ body: withProperty(call, 'metadata', `{"a":${'['.repeat(random.whole(1, 20_000))}`) }),
  (call) => ({ body: Buffer.concat([withProperty(call, 'a', '"'), Buffer.from([0xff, 0xfe])]) }),
  (_call, random) => ({ body: Buffer.from(random.pick(['null', '[]', '5', '"x"', 'true', '{', '[{}]', '\0', '\ufeff{}'])) }),
  (call, random) => ({ contentType: random.pick(['text/plain', 'application/xml', 'nonsense', 'application/x-www-form-urlencoded']), body: Buffer.from(JSON.stringify(exampleOf(call))) })
]

/** What can be wrong with a query. */
const QUERY_FAULTS: readonly Fault[] = [
  (call, random) => {
    const names = (call.operation.parameters ?? []).filter(({ name }) => name !== 'last-event-id').map(({ name }) => name)
    if (names.length === 0) return undefined
    const name = random.pick(names)
    const bad = name === 'limit' || name === 'lock_id' ? BAD_NUMBERS : name.endsWith('prefix') ? BAD_ENCODED.filter((text) => text !== '') : BAD_ENCODED
    const others = names.filter((other) => other !== name && !['limit', 'lock_id', 'cursor'].includes(other)).map((other) => `${other}=a`)
    return { url: `${call.path}?${[...others, `${name}=${random.pick(bad)}`].join('&')}` }
  },
  (call, random) => {
    const names = (call.operation.parameters ?? []).filter(({ name }) => name !== 'last-event-id').map(({ name }) => name)
    if (names.length === 0) return undefined
    return { url: `${call.path}?${names.map((name) => `${name}=a`).join('&')}&${random.pick(names)}=b` }
  }
]

/** What can be wrong with a path or a method. */
const PATH_FAULTS: readonly Fault[] = [
  (call, random) => ({ url: `${call.path}${random.pick(['/', '/x', '//', '/%', '/%00', '/../x', ';x'])}` }),
  (_call, random) => ({ url: random.pick(['/', '/%', '//', '/..%2f..%2fetc/passwd', '/docs/static/..%2f..%2fpackage.json', `/${'x'.repeat(3000)}`, '/__proto__', '/constructor']) }),
  (call, random) => ({ method: random.pick(['PUT', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']), url: call.path })
]

/** Requests each of which is wrong in one way, made from what the service says of itself. */
export class BadRequests {
  readonly #calls: readonly Documented[]
  readonly #random: Random

  constructor(document: OpenApi, random: Random) {
    this.#calls = operationsOf(document)
    this.#random = random
  }

  next(): BadRequest {
    for (;;) {
      const call = this.#random.pick(this.#calls)
      const kinds = this.#random.chance(0.1) ? PATH_FAULTS : exampleOf(call) === undefined ? QUERY_FAULTS : BODY_FAULTS
      const fault = this.#random.pick(kinds)(call, this.#random)
      if (fault !== undefined) return { method: call.method, url: call.path, contentType: JSON_TYPE, body: Buffer.alloc(0), ...fault }
    }
  }
}
