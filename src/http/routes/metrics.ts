import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { Metrics } from '../metrics.js'

export interface MetricsRoutesOptions {
  readonly metrics: Metrics
}

const example = '# HELP rlm_locks_held Locks that are held on the whole database.\n# TYPE rlm_locks_held gauge\nrlm_locks_held 12\n'

/** The figures for Prometheus. */
export const metricsRoutes: FastifyPluginCallbackTypebox<MetricsRoutesOptions> = (app, { metrics }, done) => {
  app.get(
    '/metrics',
    {
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
