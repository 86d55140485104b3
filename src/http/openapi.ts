import { Type, type Static, type TObject, type TProperties } from '@sinclair/typebox'

/** The alternatives behind a schema that the serialiser knows as one; see {@link eitherOf}. */
const ALTERNATIVES = 'x-alternatives'

const COMPONENTS = '#/components/schemas/'

type Node = Readonly<Record<string, unknown>>

/**
 * An answer that is one of several named refusals, told apart by their `code`. The serialiser gets one schema with the fields
 * of all of them, since trying each would cost several times more; the document gets `oneOf` and a discriminator.
 */
export function eitherOf<Refusals extends readonly TObject[]>(description: string, ...refusals: Refusals) {
  const codes = refusals.map(codeOf)
  const [first, ...others] = refusals
  return Type.Unsafe<Static<Refusals[number]>>({
    type: 'object',
    description,
    properties: { ...Object.assign({}, ...refusals.map(({ properties }) => properties)) as TProperties, code: { type: 'string', enum: codes } },
    required: (first?.required ?? []).filter((name) => others.every(({ required = [] }) => required.includes(name))),
    examples: (first?.['examples'] as unknown[] | undefined) ?? [],
    [ALTERNATIVES]: refusals
  })
}

/**
 * Completes the document that the routes describe: every schema with a title becomes a component of that name, refusals are
 * told apart by `code`, and the headers of an answer are declared.
 *
 * @throws Error when two different schemas have one title.
 */
export function completeDocument<Document extends { paths?: unknown; components?: unknown }>(document: Document): Document {
  const schemas = new Map<string, unknown>()
  const paths = mapValues(hoist(document.paths, schemas), (path) => mapValues(path, (operation) => withHeaders(operation as Node)))
  const sorted = Object.fromEntries([...schemas].toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return { ...document, paths, components: { ...(document.components as Node | undefined), schemas: sorted, headers: HEADERS } }
}

function hoist(node: unknown, schemas: Map<string, unknown>): unknown {
  if (Array.isArray(node)) return node.map((item) => hoist(item, schemas))
  if (typeof node !== 'object' || node === null) return node
  const { title, [ALTERNATIVES]: alternatives, ...rest } = node as Node
  if (Array.isArray(alternatives)) return discriminated(alternatives as TObject[], schemas)
  const inner = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, /^examples?$/.test(key) ? value : hoist(value, schemas)]))
  if (typeof title !== 'string') return inner
  // Beside an answer stands its own example.
  const { examples: _examples, ...schema } = inner
  const known = schemas.get(title)
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) throw new Error(`Two schemas have the title '${title}'`)
  schemas.set(title, schema)
  return { $ref: COMPONENTS + title }
}

function discriminated(refusals: readonly TObject[], schemas: Map<string, unknown>): Node {
  const mapping = Object.fromEntries(refusals.map((refusal) => [codeOf(refusal), COMPONENTS + String(refusal.title)]))
  return { oneOf: refusals.map((refusal) => hoist(refusal, schemas)), discriminator: { propertyName: 'code', mapping } }
}

const HEADERS = {
  RequestId: {
    description: 'The id of the request, which the log names: the caller’s own, where it sent one.',
    schema: { type: 'string' },
    example: '5f0c6a0e-7f2b-4b1c-9a53-0d6a3f0e8f11'
  },
  RetryAfter: {
    description: 'Seconds after which another try is worth while.',
    schema: { type: 'integer', minimum: 1 },
    example: 1
  },
  WwwAuthenticate: {
    description: 'The scheme in which a key is to be sent.',
    schema: { type: 'string', enum: ['Bearer'] },
    example: 'Bearer'
  }
}
const REQUEST_ID = { 'X-Request-Id': { $ref: '#/components/headers/RequestId' } }
const RETRY_AFTER = { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } }
const WWW_AUTHENTICATE = { 'WWW-Authenticate': { $ref: '#/components/headers/WwwAuthenticate' } }

/** @param takesKey the probes do not: they answer 503 without a word about when to ask again. */
function headersOf(status: string, response: Node, takesKey: boolean): Node {
  if (status === '401') return WWW_AUTHENTICATE
  if (status === '429' || (status === '503' && takesKey)) return RETRY_AFTER
  return status === '409' && JSON.stringify(response).includes('RESOURCE_LOCKED') ? RETRY_AFTER : {}
}

function withHeaders(operation: Node): Node {
  const { security = [], responses } = operation as { security?: readonly unknown[]; responses: Readonly<Record<string, Node>> }
  const declared = Object.entries(responses).map(([status, response]) => [
    status,
    { ...response, headers: { ...REQUEST_ID, ...headersOf(status, response, security.length > 0) } }
  ])
  return { ...operation, responses: Object.fromEntries(declared) as Node }
}

function mapValues(object: unknown, change: (value: unknown) => unknown): Node {
  return Object.fromEntries(Object.entries(object as Node).map(([key, value]) => [key, change(value)]))
}

function codeOf({ properties }: TObject): string {
  const { const: value, enum: [first] = [] } = properties['code'] as { const?: string; enum?: string[] }
  return value ?? first ?? ''
}
