import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { TObject } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { VERSION } from '../version.js'
import { KEY_SCHEME } from './auth.js'
import { JSON_TYPE } from './errors.js'
import { ALTERNATIVES, codeOf } from './schemas/common.js'

/** No `upgrade-insecure-requests`: over plain http it would leave the page blank on every host but localhost. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** Every body is JSON and there are no links, so that what chooses or shows them is only in the way. */
const LESS_CLUTTER = '.swagger-ui :is(.response-control-media-type, .body-param-content-type, .content-type-wrapper, .response-col_links) { display: none }\n'

export interface DocsOptions {
  /** The headings of whatever is served beside the service's own API. */
  readonly tags: readonly { readonly name: string; readonly description: string }[]
}

/** The OpenAPI document and the page to try it out. Everything it loads comes from this service, so that it works offline. */
export const docs = fp(async (app: FastifyInstance, { tags }: DocsOptions) => {
  let document: Buffer | undefined
  /** Made once, since it never changes, and as bytes, which all answers share. */
  const serialised = (): Buffer => (document ??= Buffer.from(JSON.stringify(app.swagger())))
  await app.register(swagger, {
    transformObject: (documented) => ('openapiObject' in documented ? completeDocument(documented.openapiObject) : documented.swaggerObject),
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Resource Lock Manager',
        version: VERSION,
        description:
          'Exclusive, expiring locks on named resources, with fencing tokens. Times are UTC by the database’s clock. ' +
          'Every refusal is `{"detail": …, "code": …}`.',
        contact: { name: 'The operator of this service' },
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          [KEY_SCHEME]: {
            type: 'http',
            scheme: 'bearer',
            description: 'A key of the service, made with `npm run keys -- create NAME`. As long as none was ever made, none is needed.'
          }
        }
      },
      tags: [
        { name: 'Locks', description: 'Take, see and release locks.' },
        { name: 'Administration', description: 'Take locks away, read what happened.' },
        { name: 'Service', description: 'Whether the service works.' },
        ...tags
      ]
    }
  })
  // Without the bar on top, whose only use is to load some other document.
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { layout: 'BaseLayout', deepLinking: true, displayRequestDuration: true },
    theme: { title: 'Resource Lock Manager – try it out', css: [{ filename: 'docs.css', content: LESS_CLUTTER }] },
    uiHooks: {
      onRequest: (request, reply, done) => {
        void reply.header('content-security-policy', CONTENT_SECURITY_POLICY)
        if (request.routeOptions.url === '/docs/json') void reply.type(JSON_TYPE).send(serialised())
        else done()
      }
    }
  })
  app.get('/openapi.json', { config: { access: 'open' }, schema: { hide: true } }, (_request, reply) => reply.type(JSON_TYPE).send(serialised()))
})

const COMPONENTS = '#/components/schemas/'

type Node = Readonly<Record<string, unknown>>

/**
 * Completes the document that the routes describe: every schema with a title becomes a component of that name, refusals are
 * told apart by `code`, and the headers of an answer are declared.
 *
 * @throws Error when two different schemas have one title.
 */
function completeDocument<Document extends { paths?: unknown; components?: unknown }>(document: Document): Document {
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
    description: 'Seconds after which another try is worthwhile.',
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
