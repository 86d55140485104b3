import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LockService } from '../../locks/lock-service.js'
import type { Metrics } from '../telemetry.js'
import { UNKNOWN_HOST } from '../schemas/common.js'

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
      config: { access: 'open' },
      schema: {
        operationId: 'getHealth',
        tags,
        summary: 'Health of the service and its database',
        description: 'In the words of the API that this service replaces; `/livez` and `/readyz` are for what restarts it and what sends it requests.',
        response: {
          200: healthBody('healthy', 'connected', 'Locks can be taken.'),
          503: healthBody('unhealthy', 'unavailable', 'The database is away or takes no writes.'),
          ...UNKNOWN_HOST
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
    {
      config: { access: 'open' },
      schema: {
        operationId: 'getLiveness',
        tags,
        summary: 'Whether the process answers',
        description: 'Does not ask the database: restart a process that does not answer.',
        response: { 200: probeBody('alive', 'It does.'), ...UNKNOWN_HOST }
      }
    },
    () => ({ status: 'alive' as const })
  )

  app.get(
    '/readyz',
    {
      config: { access: 'open' },
      schema: {
        operationId: 'getReadiness',
        tags,
        summary: 'Whether the service can take work',
        description: 'Asks the database, and says no as soon as the service is being stopped.',
        response: {
          200: probeBody('ready', 'It can.'),
          503: probeBody('not ready', 'Send requests elsewhere: the database is away or takes no writes, or the service is being stopped.'),
          ...UNKNOWN_HOST
        }
      }
    },
    async (_request, reply) => (!locks.draining && (await works()) ? { status: 'ready' as const } : reply.code(503).send({ status: 'not ready' }))
  )

  done()
}

export interface MetricsRoutesOptions {
  readonly metrics: Metrics
}

const example = '# HELP rlm_locks_held Locks that are held on the whole database, each share as one.\n# TYPE rlm_locks_held gauge\nrlm_locks_held{mode="exclusive"} 12\nrlm_locks_held{mode="shared"} 3\n'

/** The figures for Prometheus. */
export const metricsRoutes: FastifyPluginCallbackTypebox<MetricsRoutesOptions> = (app, { metrics }, done) => {
  app.get(
    '/metrics',
    {
      config: { access: 'read', ofAllNames: true },
      schema: {
        operationId: 'getMetrics',
        tags: ['Service'],
        summary: 'Figures for Prometheus',
        description: 'In the text format of Prometheus. Nothing names a resource, a process or a key.',
        response: { 200: { description: 'The figures.', content: { 'text/plain': { schema: Type.String(), example } } } }
      }
    },
    async (_request, reply) => {
      void reply.type('text/plain; version=0.0.4; charset=utf-8')
      return metrics.text()
    }
  )
  done()
}
