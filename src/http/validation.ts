import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler, FastifySerializerCompiler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { faultOfCharacters, MAX_NAMES } from '../locks/lock.js'
import { type InvalidInput, InvalidRequestError } from './errors.js'
import { isNameFormat, NAME_FORMAT } from './schemas/common.js'

/** More faults than that help nobody. */
const MAX_FAULTS = 20
/** How much of a name that a caller made up is shown, in characters: with 20 faults, no refusal is larger than 16 KiB. */
const MAX_SHOWN = 100

type Place = 'body' | 'query' | 'path' | 'headers'

interface Described {
  readonly properties?: Readonly<Record<string, unknown>>
}

const PLACES: Readonly<Record<string, Place>> = { body: 'body', querystring: 'query', params: 'path', headers: 'headers' }

/** Nothing is coerced: Ajv for Fastify would read null as 0, true as 1 and [5] as 5. */
const AJV: Options = { allowUnionTypes: true, addUsedSchema: false, formats: { [NAME_FORMAT]: isNameFormat } }

/** A part of a request that does not fit its schema. What is wrong with it is only found out for the answer. */
class SchemaFault extends InvalidRequestError {
  override readonly name = 'SchemaFault'
  readonly #place: Place
  readonly #schema: Described
  readonly #validate: ValidateFunction

  constructor(place: Place, schema: Described, validate: ValidateFunction) {
    super([])
    this.#place = place
    this.#schema = schema
    this.#validate = validate
  }

  /** At least one and at most 20 faults. */
  override faultsOf(request: FastifyRequest): InvalidInput[] {
    const place = this.#place
    const input = { body: request.body, query: request.query, path: request.params, headers: request.headers }[place]
    if (input === undefined) return [{ type: 'missing', loc: [place], msg: 'Field required' }]
    const part = excerpt(input, new Set(namesIn(this.#schema)))
    this.#validate(part)
    return (this.#validate.errors ?? []).slice(0, MAX_FAULTS).map((error) => describe(error, place, part))
  }
}

/**
 * Makes the validators of all schemas, each when it is needed first: a service that starts would otherwise wait for all of
 * them. The one that every request passes stops at the first fault, so that a bad request costs no more than a good one; the
 * one that finds all faults sees an excerpt.
 */
export function validatorCompiler(): FastifySchemaCompiler<object> {
  const quick = new Ajv({ ...AJV, allErrors: false })
  const thorough = new Ajv({ ...AJV, allErrors: true, verbose: true })
  return ({ schema, httpPart = '' }) => {
    let isGood: ValidateFunction | undefined
    let validate: ValidateFunction | undefined
    return (input: unknown) => {
      isGood ??= quick.compile(schema)
      if (isGood(input)) return true
      validate ??= thorough.compile(schema)
      return { error: new SchemaFault(PLACES[httpPart] ?? 'body', schema, validate) }
    }
  }
}

/** Makes the serializers of all answers, each when it is needed first too. */
export function serializerCompiler(): FastifySerializerCompiler<object> {
  const compile = SerializerSelector()()
  return (route) => {
    let serialize: ((body: unknown) => string) | undefined
    return (body) => (serialize ??= compile({ ...route, httpStatus: String(route.httpStatus) }))(body)
  }
}

/** Refuses whatever a call under `/locks` does not know, since a misspelt `ttl` would else be a lock without an end. To be registered before the routes. */
export const refuseUnknown = fp((app: FastifyInstance, _options, done: () => void) => {
  app.addHook('onRoute', (route) => {
    if (!route.url.startsWith('/locks/')) return
    const { body, querystring = { type: 'object', properties: {} } } = route.schema ?? {}
    route.schema = { ...route.schema, querystring: closed(querystring), ...(body === undefined ? {} : { body: closed(body) }) }
    if (body === undefined && route.method === 'DELETE') refuseBody(route)
  })
  done()
})

const namesIn = (schema: Described = {}): string[] => Object.keys(schema.properties ?? {})

const closed = (schema: unknown): object => ({ ...(schema as object), additionalProperties: false })

/** A call that reads its query only may be sent an empty body, but nothing that it would ignore. */
function refuseBody(route: RouteOptions): void {
  route.preValidation = ({ body }, _reply, done) => {
    if (body === undefined || body === null) return done()
    const names = typeof body === 'object' && !Array.isArray(body) ? Object.keys(body) : [undefined]
    if (names.length === 0) return done()
    done(new InvalidRequestError(names.slice(0, MAX_FAULTS).map((name) => forbidden(['body', ...(name === undefined ? [] : [shown(name)])]))))
  }
}

/** Enough of a value to show what is wrong with it: what is cut away of lists and objects is more of the same. */
function excerpt(input: unknown, known: ReadonlySet<string>): unknown {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return input
  let unknown = 0
  const kept = Object.entries(input).filter(([name]) => known.has(name) || (unknown += 1) <= MAX_FAULTS)
  return Object.fromEntries(kept.map(([name, value]) => [name, Array.isArray(value) ? value.slice(0, MAX_NAMES + 1) : value]))
}

function shown(name: string): string {
  return name.length <= MAX_SHOWN ? name : `${name.slice(0, MAX_SHOWN)}…`
}

function forbidden(loc: readonly string[], meant?: string): InvalidInput {
  return { type: 'extra_forbidden', loc, msg: `Extra inputs are not permitted${meant === undefined ? '' : `; did you mean '${meant}'?`}` }
}

/** Words for each rule that a schema of this service uses; the types are those of the mirrored API where it has one. */
function describe({ keyword, params, message, instancePath, parentSchema }: ErrorObject, place: Place, input: unknown): InvalidInput {
  const path = instancePath.split('/').slice(1).map(unescapePointer)
  const loc = [place, ...path]
  const limit = String(params['limit'])
  switch (keyword) {
    case 'required':
      return { type: 'missing', loc: [...loc, String(params['missingProperty'])], msg: 'Field required' }
    case 'additionalProperties': {
      const name = String(params['additionalProperty'])
      return forbidden([...loc, shown(name)], nearest(name, namesIn(parentSchema as Described | undefined)))
    }
    case 'type':
      return ofType(String(params['type']), loc)
    case 'format':
      return { type: 'value_error', loc, msg: `Input ${faultOfCharacters(String(valueAt(input, path))) ?? 'is not valid'}` }
    case 'pattern':
      return { type: 'string_pattern_mismatch', loc, msg: `String should match pattern '${String(params['pattern'])}'` }
    case 'minLength':
      return { type: 'string_too_short', loc, msg: `String should have at least ${limit} character${limit === '1' ? '' : 's'}` }
    case 'maxLength':
      return { type: 'string_too_long', loc, msg: `String should have at most ${limit} characters` }
    case 'uniqueItems':
      return { type: 'value_error', loc, msg: 'List should have no item twice' }
    case 'minItems':
      return { type: 'too_short', loc, msg: `List should have at least ${limit} item${limit === '1' ? '' : 's'}` }
    case 'maxItems':
      return { type: 'too_long', loc, msg: `List should have at most ${limit} items` }
    case 'exclusiveMinimum':
      return { type: 'greater_than', loc, msg: `Input should be greater than ${limit}` }
    case 'minimum':
      return { type: 'greater_than_equal', loc, msg: `Input should be greater than or equal to ${limit}` }
    case 'maximum':
      return { type: 'less_than_equal', loc, msg: `Input should be less than or equal to ${limit}` }
    default:
      return { type: 'value_error', loc, msg: `Input ${message ?? 'is not valid'}` }
  }
}

const TYPES: Readonly<Record<string, readonly [type: string, noun: string]>> = {
  string: ['string_type', 'string'],
  number: ['float_type', 'number'],
  integer: ['int_type', 'integer'],
  boolean: ['bool_type', 'boolean'],
  array: ['list_type', 'list'],
  object: ['dict_type', 'object']
}

/** @param expected one JSON type, or several joined by commas of which the first is the one to name. */
function ofType(expected: string, loc: readonly string[]): InvalidInput {
  const [type, noun] = TYPES[expected.split(',')[0] ?? ''] ?? ['value_error', expected]
  return { type, loc, msg: `Input should be a valid ${noun}` }
}

function valueAt(input: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], input)
}

function unescapePointer(segment: string): string {
  return segment.replaceAll('~1', '/').replaceAll('~0', '~')
}

const MAX_CHARACTERS = 40
const MIN_PREFIX = 3
const MAX_TYPOS = 2

/** The one of the known names that was most likely meant by another one; undefined where none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const text = plain(name)
  if (name.length > MAX_CHARACTERS || text === '') return undefined
  const beginsAlike = (other: string): boolean =>
    Math.min(text.length, other.length) >= MIN_PREFIX && (other.startsWith(text) || text.startsWith(other))
  return (
    known.find((other) => plain(other) === text) ??
    known.find((other) => beginsAlike(plain(other))) ??
    known.find((other) => typos(text, plain(other)) <= Math.min(MAX_TYPOS, text.length / 3)) ??
    onlyOne(known.filter((other) => other.split('_').includes(text)))
  )
}

/** `ttlSeconds`, `TTL-Seconds` and `ttl_seconds` are one name. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

function onlyOne(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined
}

/** How many characters to insert, remove or replace to make one text of the other (Levenshtein). */
function typos(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let at = 1; at <= from.length; at += 1) {
    const next = [at]
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (row[column - 1] ?? 0) + (from[at - 1] === to[column - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
