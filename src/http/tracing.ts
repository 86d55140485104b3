import { context, propagation, ProxyTracerProvider, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api'
import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { VERSION } from '../version.js'

/** Whether somebody has registered a provider, without which spans go nowhere. */
export function isTraced(): boolean {
  const provider = trace.getTracerProvider()
  return !(provider instanceof ProxyTracerProvider) || provider.getDelegate() !== new ProxyTracerProvider().getDelegate()
}

const hooks: FastifyPluginCallback = (app, _options, done) => {
  const tracer = trace.getTracer('resource-lock-manager', VERSION)
  const spans = new WeakMap<FastifyRequest, Span>()

  app.addHook('onRequest', (request, _reply, next) => {
    const route = request.routeOptions.url ?? ''
    if (!route.startsWith('/locks/')) return next()
    const parent = propagation.extract(context.active(), request.headers)
    const attributes = { 'http.request.method': request.method, 'http.route': route }
    const span = tracer.startSpan(`${request.method} ${route}`, { kind: SpanKind.SERVER, attributes }, parent)
    spans.set(request, span)
    context.with(trace.setSpan(parent, span), next)
  })

  app.addHook('onResponse', (request, reply, next) => {
    const span = spans.get(request)
    span?.setAttribute('http.response.status_code', reply.statusCode)
    if (reply.statusCode >= 500) span?.setStatus({ code: SpanStatusCode.ERROR }).setAttribute('error.type', String(reply.statusCode))
    span?.end()
    next()
  })

  // A caller that went away is never answered.
  app.addHook('onRequestAbort', (request, next) => {
    const span = spans.get(request)
    span?.setStatus({ code: SpanStatusCode.ERROR, message: 'the caller went away' }).end()
    next()
  })
  done()
}

/**
 * A span for each call of the locks API, named and described by OpenTelemetry's conventions for HTTP servers, as a child of
 * the caller's span where the headers name one. It says which route was called and how it ended, never for which resource.
 * To be registered only when {@link isTraced}: its hooks cost some of the throughput.
 */
export const tracing = fp(hooks, { name: 'tracing' })
