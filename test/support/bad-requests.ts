import { operationsOf, type Documented, type OpenApi } from './openapi.js'
import type { Random } from './random.js'

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
    const texts = Object.entries(schemaOf(call).properties ?? {}).filter(([name, schema]) => typesOf(schema).includes('string') && name !== 'prefix')
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
    const bad = name === 'limit' || name === 'lock_id' ? BAD_NUMBERS : name === 'prefix' ? BAD_ENCODED.filter((text) => text !== '') : BAD_ENCODED
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
