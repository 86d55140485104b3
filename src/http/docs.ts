import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { VERSION } from '../version.js'
import { KEY_SCHEME } from './auth.js'
import { completeDocument } from './openapi.js'

/** No `upgrade-insecure-requests`: over plain http it would leave the page blank on every host but localhost. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** Every body is JSON and there are no links, so that what chooses or shows them is only in the way. */
const LESS_CLUTTER = '.swagger-ui :is(.response-control-media-type, .body-param-content-type, .content-type-wrapper, .response-col_links) { display: none }\n'

const JSON_TYPE = 'application/json; charset=utf-8'

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
        contact: { name: 'Whoever operates this service' },
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
  app.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => reply.type(JSON_TYPE).send(serialised()))
})
