import { setImmediate as turn } from 'node:timers/promises'
import { propagation, ROOT_CONTEXT, SpanStatusCode, trace, TraceFlags, type Attributes, type Context, type Span, type SpanOptions, type TracerProvider } from '@opentelemetry/api'
import t from 'tap'
import { isTraced } from '../../src/http/telemetry.js'
import { TestApp } from '../support/app.js'
import { besideService } from '../support/databases.js'

interface Seen {
  readonly name: string
  readonly kind: unknown
  readonly parent: string | undefined
  readonly attributes: Attributes
  status: unknown
  ended: number
}

/** A provider that keeps its spans. */
class Spans implements TracerProvider {
  readonly seen: Seen[] = []

  getTracer() {
    const start = (name: string, options: SpanOptions = {}, context: Context = ROOT_CONTEXT): Span => {
      const seen: Seen = {
        name,
        kind: options.kind,
        parent: trace.getSpanContext(context)?.traceId,
        attributes: { ...options.attributes },
        status: undefined,
        ended: 0
      }
      this.seen.push(seen)
      return spanOf(seen)
    }
    return { startSpan: start, startActiveSpan: () => undefined as never }
  }
}

function spanOf(seen: Seen): Span {
  const span: Span = {
    spanContext: () => ({ traceId: '0'.repeat(31) + '1', spanId: '0'.repeat(15) + '1', traceFlags: TraceFlags.SAMPLED }),
    setAttribute: (name, value) => {
      if (value !== undefined) seen.attributes[name] = value
      return span
    },
    setAttributes: () => span,
    addEvent: () => span,
    addLink: () => span,
    addLinks: () => span,
    setStatus: (status) => {
      seen.status = status.code
      return span
    },
    updateName: () => span,
    end: () => void (seen.ended += 1),
    isRecording: () => true,
    recordException: () => undefined
  }
  return span
}

void t.test('without a provider there is no hook', async (t) => {
  t.equal(isTraced(), false)
  await using api = await TestApp.open('sqlite')
  t.equal(api.app.hasPlugin('tracing'), false)
  t.match(await api.get('/locks/stats'), { status: 200 })
})

void t.test('with one, each call of the locks API has a span that says how it ended, not for which resource', async (t) => {
  const spans = new Spans()
  const caller = 'b'.repeat(32)
  trace.setGlobalTracerProvider(spans)
  propagation.setGlobalPropagator({
    inject: () => undefined,
    fields: () => ['traceparent'],
    extract: (context, carrier: { traceparent?: string }) =>
      carrier.traceparent === undefined ? context : trace.setSpanContext(context, { traceId: caller, spanId: 'c'.repeat(16), traceFlags: 1 })
  })
  t.teardown(() => {
    trace.disable()
    propagation.disable()
  })
  t.equal(isTraced(), true)

  await using api = await TestApp.open('sqlite')
  t.equal(api.app.hasPlugin('tracing'), true)
  const mine = { resource_name: 'secret', process_id: 'secret' }
  await api.post('/locks/request', mine)
  await api.post('/locks/request', mine)
  await api.send({ url: '/locks/status?resource_name=secret', headers: { traceparent: 'from elsewhere' } })
  await api.get('/health')
  await api.get('/nowhere')
  await besideService(api.database, 'drop table resource_locks')
  await api.get('/locks/all-locked')
  await turn()

  t.match(spans.seen, [
    { name: 'POST /locks/request', kind: 1, parent: undefined, attributes: { 'http.request.method': 'POST', 'http.route': '/locks/request', 'http.response.status_code': 200 } },
    { name: 'POST /locks/request', attributes: { 'http.response.status_code': 409 }, status: undefined },
    { name: 'GET /locks/status', parent: caller, attributes: { 'http.response.status_code': 200 } },
    { name: 'GET /locks/all-locked', attributes: { 'http.response.status_code': 500, 'error.type': '500' }, status: SpanStatusCode.ERROR }
  ])
  t.equal(spans.seen.length, 4, 'the others are nobody’s business')
  t.strictSame(spans.seen.map(({ ended }) => ended), [1, 1, 1, 1])
  t.notMatch(JSON.stringify(spans.seen), 'secret')
})
