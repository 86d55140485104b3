import swagger from '@fastify/swagger'
import swaggerUi, { type FastifySwaggerUiOptions } from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { VERSION } from '../version.js'

/** No `upgrade-insecure-requests`: over plain http it would leave the pages blank on every host but localhost. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** The OpenAPI document and its two faces. Everything they load comes from this service, so that they work offline. */
export const docs = fp(async (app: FastifyInstance) => {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Resource Lock Manager',
        version: VERSION,
        description:
          'Exclusive, expiring locks on named resources, with fencing tokens. Times are UTC by the database’s clock. ' +
          'Every refusal is `{"detail": …, "code": …}`.',
        license: { name: 'MIT', identifier: 'MIT' }
      },
      tags: [
        { name: 'Locks', description: 'Take, see and release locks.' },
        { name: 'Administration', description: 'Take locks away, read what happened.' },
        { name: 'Service', description: 'Whether the service works.' }
      ]
    }
  })
  await app.register(face('/docs', { deepLinking: true, displayRequestDuration: true }))
  await app.register(face('/redoc', { deepLinking: true, docExpansion: 'full', supportedSubmitMethods: [], defaultModelsExpandDepth: -1 }))
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger())
})

/** One way to show the document: `/docs` to try it out, `/redoc` to read it. */
function face(routePrefix: string, uiConfig: NonNullable<FastifySwaggerUiOptions['uiConfig']>) {
  return async (scope: FastifyInstance): Promise<void> => {
    await scope.register(swaggerUi, {
      routePrefix,
      uiConfig,
      theme: { title: 'Resource Lock Manager – API' },
      uiHooks: {
        onRequest: (_request, reply, done) => {
          void reply.header('content-security-policy', CONTENT_SECURITY_POLICY)
          done()
        }
      }
    })
  }
}
