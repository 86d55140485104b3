import Fastify from 'fastify'
import type { Test } from 'tap'
import type { TestApp } from './app.js'

type Schema = Readonly<Record<string, unknown>>

export interface Media {
  readonly schema: Schema
  readonly example?: unknown
}

export interface Operation {
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly operationId?: string
  readonly 'x-required-scope'?: string
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[]
  readonly parameters?: readonly { readonly name: string; readonly description?: string }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<Record<string, { readonly description: string; readonly headers?: Readonly<Record<string, unknown>>; readonly content?: Readonly<Record<string, Media>> }>>
}

export interface OpenApi {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

/** One call of the document. */
export interface Documented {
  /** `POST /locks/request` */
  readonly name: string
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly operation: Operation
}

/** The document with each reference replaced by what it stands for. */
export async function documentOf(api: TestApp): Promise<OpenApi> {
  const { body } = await api.get<OpenApi & { readonly components: unknown }>('/openapi.json')
  return resolved(body, body) as OpenApi
}

function resolved(node: unknown, document: unknown): unknown {
  if (Array.isArray(node)) return node.map((item) => resolved(item, document))
  if (typeof node !== 'object' || node === null) return node
  const { $ref, ...rest } = node as Schema
  if (typeof $ref !== 'string') return Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, resolved(value, document)]))
  const found = $ref.split('/').slice(1).reduce<unknown>((at, key) => (at as Schema | undefined)?.[key], document)
  if (found === undefined) throw new Error(`${$ref} leads nowhere`)
  return resolved(found, document)
}

export function operationsOf(document: OpenApi): Documented[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([verb, operation]) => {
      const method = verb.toUpperCase() as Documented['method']
      return { name: `${method} ${path}`, method, path, operation }
    })
  )
}

/** `POST /locks/request` and so on: what the router serves, read from the tree that it prints, a parameter as the document has it. */
export function servedRoutes({ app }: TestApp): string[] {
  const routes: string[] = []
  const above: string[] = []
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const [, indent = '', segment = '', methods = ''] = /^([│ ]*)[├└]── (\S+)(?: \((.*)\))?$/.exec(line) ?? []
    const depth = indent.length / 4
    above.splice(depth, Infinity, segment)
    for (const method of methods.split(', ')) if (method !== '' && method !== 'HEAD') routes.push(`${method} ${above.join('').replaceAll(/:(\w+)/g, '{$1}')}`)
  }
  return routes
}

/** The schema that the document has for an answer to that URL; what has none fits nothing. */
export function schemaOf({ paths }: OpenApi, method: string, url: string, status: number): Schema {
  const path = url.replace(/\?.*/, '')
  // A path without parameters before one that would fit as well.
  const template = paths[path] === undefined ? Object.keys(paths).find((template) => fits(template, path)) : path
  return paths[template ?? '']?.[method.toLowerCase()]?.responses[status]?.content?.['application/json']?.schema ?? { not: {} }
}

function fits(template: string, path: string): boolean {
  const [wanted, given] = [template.split('/'), path.split('/')]
  return wanted.length === given.length && wanted.every((segment, index) => segment === given[index] || segment.startsWith('{'))
}

/** Checks values against schemas as Fastify reads them, except that a field that a schema does not name is a fault. */
export class SchemaChecker implements AsyncDisposable {
  readonly #app = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allowUnionTypes: true, formats: { 'lock-name': true } } } })

  constructor() {
    this.#app.post<{ Body: { schema: Schema; value: unknown } }>('/', (request, reply) => {
      const validate = request.compileValidationSchema(closed(request.body.schema))
      return reply.send({ faults: validate(request.body.value) ? [] : validate.errors })
    })
  }

  /** What is wrong with the value; empty when nothing is. */
  async faults(schema: Schema, value: unknown): Promise<readonly unknown[]> {
    const answer = await this.#app.inject({ method: 'POST', url: '/', payload: { schema, value } })
    return answer.json<{ faults?: unknown[] }>().faults ?? [answer.body]
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#app.close()
  }
}

function closed(schema: Schema): Schema {
  const entries = Object.entries(schema).map(([key, value]): [string, unknown] => {
    if (key === 'properties') return [key, Object.fromEntries(Object.entries(value as Schema).map(([name, inner]) => [name, closed(inner as Schema)]))]
    if (key === 'oneOf') return [key, (value as Schema[]).map(closed)]
    return [key, key === 'items' ? closed(value as Schema) : value]
  })
  const { discriminator: _discriminator, ...rest } = Object.fromEntries(entries)
  return { ...('properties' in schema ? { additionalProperties: false } : {}), ...rest }
}

/** One call and its answer: `POST /lock/user/1`, what is sent, the status, the body. */
export type Call = readonly [call: string, payload: string | object | null, status: number, body: object]

/** Makes the calls one after another. Each must be answered exactly so, and as the OpenAPI document says. */
export async function answersTo(t: Test, api: TestApp, calls: readonly Call[]): Promise<void> {
  await using checker = new SchemaChecker()
  const document = await documentOf(api)
  for (const [call, payload, status, body] of calls) {
    const [method, url] = call.split(' ') as ['GET' | 'POST', string]
    const title = `${call} ${JSON.stringify(payload)}`.slice(0, 200)
    const answer = await api.send({
      method,
      url,
      ...(payload === null ? {} : { headers: { 'content-type': 'application/json' }, payload })
    })
    t.equal(answer.status, status, title)
    t.strictSame(answer.body, body, title)
    t.strictSame(await checker.faults(schemaOf(document, method, url, status), answer.body), [], `${title} as documented`)
  }
}

/** What `/locks/all-locked` shows: who holds what. */
export async function allLocked(api: TestApp): Promise<Readonly<Record<string, string>>> {
  const { body } = await api.get<{ data: { locks: { resource_name: string; process_id: string }[] } }>('/locks/all-locked')
  return Object.fromEntries(body.data.locks.map(({ resource_name, process_id }) => [resource_name, process_id]))
}
