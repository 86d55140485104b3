import { context, propagation, ProxyTracerProvider, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api'
import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { LockService } from '../locks/lock-service.js'
import type { Histogram } from '../locks/metrics.js'
import { VERSION } from '../version.js'
import type { ErrorCode } from './errors.js'

/** How often each refusal and fault was answered, but for those that belong to locks (held, not held). */
export type ErrorCounts = ReadonlyMap<ErrorCode, number>

/**
 * What Prometheus asks for, read from plain numbers at that moment, so that requests pay nothing for it. What a database
 * that is away cannot tell is left out rather than shown as 0. No resource, process or key is ever a label.
 */
export class Metrics {
  readonly #locks: LockService
  readonly #errors: ErrorCounts
  #process: Registry | undefined

  constructor(locks: LockService, errors: ErrorCounts) {
    this.#locks = locks
    this.#errors = errors
  }

  async text(): Promise<string> {
    // Not before somebody asks: watching the event loop costs a little.
    this.#process ??= processMetrics()
    return [...this.#ofRequests(), ...this.#ofTime(), ...(await this.#ofDatabase()), await this.#process.metrics()].join('')
  }

  #ofRequests(): string[] {
    const { calls, counters } = this.#locks.statistics
    const ends = Object.entries(calls).flatMap(([call, outcomes]) =>
      Object.entries(outcomes).map(([outcome, value]): Sample => ({ labels: { call, outcome }, value }))
    )
    const errors = [...this.#errors].map(([code, value]): Sample => ({ labels: { code }, value }))
    return [
      family('gauge', 'rlm_build_info', 'The version of the service.', [{ labels: { version: VERSION }, value: 1 }]),
      family('counter', 'rlm_requests_total', 'Calls by what came of them; those for several locks count once when they ask, else for each lock.', ends),
      family('counter', 'rlm_errors_total', 'Answers that refused a call for its form or for a fault, by code.', errors),
      family('counter', 'rlm_locks_granted_total', 'Locks that were granted.', [{ value: counters.grants }]),
      family('counter', 'rlm_locks_expired_total', 'Locks that expired without being released, as the sweeper found them.', [{ value: counters.expiries }])
    ]
  }

  #ofTime(): string[] {
    const { statistics, storeFigures: figures, waiting } = this.#locks
    const requests = Object.entries(statistics.requests).map(([outcome, histogram]) => ({ labels: { outcome }, histogram }))
    const waits = Object.entries(statistics.waits).map(([outcome, histogram]) => ({ labels: { outcome }, histogram }))
    const batches = figures === undefined ? [] : [{ histogram: figures.batchCommands }]
    const commits = figures === undefined ? [] : [{ histogram: figures.batchSeconds }]
    const pools = (figures?.pools() ?? []).flatMap(({ pool, busy, idle }): Sample[] => [
      { labels: { pool, state: 'busy' }, value: busy },
      { labels: { pool, state: 'idle' }, value: idle }
    ])
    const queues = (figures?.pools() ?? []).map(({ pool, waiting: value }): Sample => ({ labels: { pool }, value }))
    return [
      histograms('rlm_request_seconds', 'How long requests for locks took, without their time in line.', requests),
      histograms('rlm_wait_seconds', 'How long requests waited in line.', waits),
      histograms('rlm_hold_seconds', 'How long locks were held that were released.', [{ histogram: statistics.holds }]),
      family('gauge', 'rlm_waiting_requests', 'Requests of this instance that wait in line.', [{ value: waiting }]),
      histograms('rlm_batch_commands', 'Commands that were handed to the database together.', batches),
      histograms('rlm_batch_seconds', 'How long a batch took, from handing it over until it was committed.', commits),
      family('gauge', 'rlm_pool_connections', 'Connections to PostgreSQL.', pools),
      family('gauge', 'rlm_pool_waiting', 'What waits for a connection to PostgreSQL.', queues)
    ]
  }

  async #ofDatabase(): Promise<string[]> {
    try {
      const { reads } = this.#locks
      const all = { prefix: '' }
      const [exclusive, shared, waiters, longestWaitMs] = await Promise.all([reads.count({ ...all, processId: null, mode: 'exclusive' }), reads.count({ ...all, processId: null, mode: 'shared' }), reads.countWaiters(all), reads.longestWait(all)])
      return [
        isUp(1),
        family('gauge', 'rlm_locks_held', 'Locks that are held on the whole database, each share as one.', [
          { labels: { mode: 'exclusive' }, value: exclusive },
          { labels: { mode: 'shared' }, value: shared }
        ]),
        family('gauge', 'rlm_waiters', 'Places in line that are taken on the whole database.', [{ value: waiters }]),
        family('gauge', 'rlm_oldest_waiter_seconds', 'For how long the request that has waited longest waits, on the whole database; 0 where none waits.', [
          { value: (longestWaitMs ?? 0) / 1000 }
        ])
      ]
    } catch {
      return [isUp(0)]
    }
  }
}

function isUp(value: 0 | 1): string {
  return family('gauge', 'rlm_database_up', 'Whether the database answers.', [{ value }])
}

/** Memory, processor and event loop of this process, under the names that every Node.js dashboard knows. */
function processMetrics(): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return registry
}

type Labels = Readonly<Record<string, string>>

interface Sample {
  readonly labels?: Labels
  readonly value: number
}

/** The text format of Prometheus, version 0.0.4: one family of samples with the words that explain it. */
function family(type: 'counter' | 'gauge', name: string, help: string, samples: readonly Sample[]): string {
  return lines(type, name, help, samples.map(({ labels = {}, value }) => line(name, labels, value)))
}

/** The same for histograms, whose buckets hold all values up to their upper end. */
function histograms(name: string, help: string, all: readonly { readonly labels?: Labels; readonly histogram: Histogram }[]): string {
  const samples = all.flatMap(({ labels = {}, histogram: { bounds, counts, sum } }) => {
    let total = 0
    const buckets = counts.map((count, index) => line(`${name}_bucket`, { ...labels, le: String(bounds[index] ?? '+Inf') }, (total += count)))
    return [...buckets, line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, total)]
  })
  return lines('histogram', name, help, samples)
}

function lines(type: string, name: string, help: string, samples: readonly string[]): string {
  return samples.length === 0 ? '' : [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples, ''].join('\n')
}

/** Labels have fixed words for values, which need no escaping. */
function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`)
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`
}

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
