import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LockService } from '../../locks/lock-service.js'

export interface HealthRoutesOptions {
  readonly locks: LockService
}

const SERVICE = 'Resource Lock Manager'
const tags = ['Service']

const healthBody = (status: string, database: string, description: string) =>
  Type.Object(
    { status: Type.Literal(status), service: Type.String(), database: Type.Literal(database) },
    { description, examples: [{ status, service: SERVICE, database }] }
  )
const probeBody = (status: string, description: string) =>
  Type.Object({ status: Type.Literal(status) }, { description, examples: [{ status }] })

/** Whether the service lives (`/livez`), can work (`/readyz`), and both in the mirrored words (`/health`). */
export const healthRoutes: FastifyPluginCallbackTypebox<HealthRoutesOptions> = (app, { locks }, done) => {
  const works = (): Promise<boolean> =>
    locks.checkDatabase().then(
      () => true,
      () => false
    )

  app.get(
    '/health',
    {
      schema: {
        tags,
        summary: 'Health of the service and its database',
        response: {
          200: healthBody('healthy', 'connected', 'Locks can be taken.'),
          503: healthBody('unhealthy', 'unavailable', 'The database is away or takes no writes.')
        }
      }
    },
    async (_request, reply) =>
      (await works())
        ? { status: 'healthy' as const, service: SERVICE, database: 'connected' as const }
        : reply.code(503).send({ status: 'unhealthy', service: SERVICE, database: 'unavailable' })
  )

  app.get(
    '/livez',
    { schema: { tags, summary: 'Whether the process answers', response: { 200: probeBody('alive', 'It does.') } } },
    () => ({ status: 'alive' as const })
  )

  app.get(
    '/readyz',
    {
      schema: {
        tags,
        summary: 'Whether the service can take work',
        response: {
          200: probeBody('ready', 'It can.'),
          503: probeBody('not ready', 'Send requests elsewhere: the database is away or takes no writes, or the service is being stopped.')
        }
      }
    },
    async (_request, reply) => (!locks.draining && (await works()) ? { status: 'ready' as const } : reply.code(503).send({ status: 'not ready' }))
  )

  done()
}
