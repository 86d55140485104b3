import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from '../../scripts/postgres-server.js'
import { freshDatabase } from '../support/databases.js'
import { inProject, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'
import { Part, withPrograms } from './support.js'

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: string }[] }
}

const RULES = inProject('docs/alerts.yaml')

/** What makes each alert fire, with the minutes that it takes. */
const FIRING: Readonly<Record<string, { readonly minutes: number; readonly series: readonly (readonly [series: string, values: string])[] }>> = {
  LockServiceDown: { minutes: 2, series: [['up{job="resource-lock-manager",instance="a"}', '0x60']] },
  LockDatabaseAway: { minutes: 2, series: [['rlm_database_up{instance="a"}', '0x60']] },
  LockServiceFaults: { minutes: 11, series: [['rlm_errors_total{instance="a",code="INTERNAL"}', '0+1x60']] },
  LocksNotReleased: { minutes: 31, series: [['rlm_locks_expired_total{instance="a"}', '0+2x60'], ['rlm_locks_granted_total{instance="a"}', '0+10x60']] },
  LockWaitsLong: { minutes: 16, series: [['rlm_wait_seconds_bucket{le="30"}', '0+1x60'], ['rlm_wait_seconds_bucket{le="60"}', '0+9x60'], ['rlm_wait_seconds_bucket{le="+Inf"}', '0+9x60']] },
  LockWaiterStuck: { minutes: 6, series: [['rlm_oldest_waiter_seconds{instance="a"}', '301x60']] },
  LockQueueGrows: { minutes: 6, series: [['rlm_waiters{instance="a"}', '1001x60']] },
  LockCallersRefused: { minutes: 11, series: [['rlm_errors_total{instance="a",code="TOO_MANY_REQUESTS"}', '0+120x60']] },
  LockCommitsSlow: { minutes: 16, series: [['rlm_batch_seconds_bucket{instance="a",le="0.5"}', '0+1x60'], ['rlm_batch_seconds_bucket{instance="a",le="1"}', '0+9x60'], ['rlm_batch_seconds_bucket{instance="a",le="+Inf"}', '0+9x60']] },
  LockServiceBusy: { minutes: 11, series: [['nodejs_eventloop_lag_p99_seconds{instance="a"}', '0.3x60']] }
}

withPrograms(['promtool'], 'each alert is a rule that Prometheus takes, is silent while all is well and fires for what it is named after', async (t) => {
  await using folder = await temporaryFolder()
  const names = Array.from((await readFile(RULES, 'utf8')).matchAll(/- alert: (\w+)/g), ([, name = '']) => name)
  t.strictSame(Object.keys(FIRING), names)
  promtool(t, 'check', 'rules', RULES)
  const tests = Object.entries(FIRING).map(([alert, { minutes, series }]) => ({
    interval: '1m',
    input_series: series.map(([name, values]) => ({ series: name, values })),
    promql_expr_test: [{ expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`, eval_time: `${minutes}m`, exp_samples: [{ labels: '{}', value: 1 }] }]
  }))
  const quiet = {
    interval: '1m',
    input_series: [
      ['up{job="resource-lock-manager",instance="a"}', '1x60'],
      ['rlm_database_up{instance="a"}', '1x60'],
      ['rlm_errors_total{instance="a",code="INTERNAL"}', '7x60'],
      ['rlm_errors_total{instance="a",code="RESOURCE_LOCKED"}', '0+900x60'],
      ['rlm_locks_expired_total{instance="a"}', '0+1x60'],
      ['rlm_locks_granted_total{instance="a"}', '0+1000x60'],
      ['rlm_oldest_waiter_seconds{instance="a"}', '30x60'],
      ['rlm_waiters{instance="a"}', '10x60'],
      ['nodejs_eventloop_lag_p99_seconds{instance="a"}', '0.02x60']
    ].map(([series, values]) => ({ series, values })),
    promql_expr_test: [{ expr: 'count(ALERTS)', eval_time: '60m', exp_samples: [] }]
  }
  // JSON is YAML.
  await writeFile(join(folder.path, 'tests.yaml'), JSON.stringify({ rule_files: [RULES], evaluation_interval: '1m', tests: [...tests, quiet] }))
  promtool(t, 'test', 'rules', join(folder.path, 'tests.yaml'))
})

withPrograms(['prometheus', 'promtool'], 'a real Prometheus scrapes the service, and every query of the dashboard finds something', async (t) => {
  await using folder = await temporaryFolder()
  await using database = await freshDatabase('postgres', 'real')
  await using service = await Service.start({ settings: { DATABASE_URL: database.url, SWEEP_INTERVAL_SECONDS: '0.1' } })
  const port = await freePort()
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [RULES],
    scrape_configs: [{ job_name: 'resource-lock-manager', static_configs: [{ targets: [`127.0.0.1:${service.port}`] }] }]
  }
  const file = join(folder.path, 'prometheus.yml')
  await writeFile(file, JSON.stringify(config))
  promtool(t, 'check', 'config', file)
  // The names of the others are those of prom-client.
  const metrics = (await (await fetch(`${service.url}/metrics`)).text()).split('\n').filter((line) => /^(?:# (?:HELP|TYPE) )?rlm_/.test(line))
  promtool(t, 'check', 'metrics', `${metrics.join('\n')}\n`)
  await using prometheus = Part.start(['prometheus', `--config.file=${file}`, `--storage.tsdb.path=${join(folder.path, 'data')}`, `--web.listen-address=127.0.0.1:${port}`], folder.path)
  const api = async (path: string): Promise<unknown> => ((await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json()) as { data?: unknown }).data
  const ask = async (query: string): Promise<readonly unknown[]> => ((await api(`query?query=${encodeURIComponent(query)}`)) as { result?: readonly unknown[] } | undefined)?.result ?? []

  const { panels, templating } = JSON.parse(await readFile(inProject('docs/grafana-dashboard.json'), 'utf8')) as Dashboard
  const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, query: withVariables(expr) })))
  t.ok(queries.length > 10)
  const missing = new Map(queries.map(({ title, query }) => [query, title]))
  await prometheus.until('every query finds something', async () => {
    await someOfEverything(service)
    for (const query of missing.keys()) if ((await ask(query)).length > 0) missing.delete(query)
    return missing.size === 0 || undefined
  })
  for (const { name, query } of templating.list) {
    const [, metric = '', label = ''] = /^label_values\((\w+), *(\w+)\)$/.exec(query) ?? []
    if (metric !== '') t.not((await ask(`count by (${label}) (${metric})`)).length, 0, name)
  }
  const { groups } = (await api('rules')) as { groups: readonly { rules: readonly { name: string; health: string; lastError?: string }[] }[] }
  t.strictSame(groups.flatMap(({ rules }) => rules.map(({ name, health, lastError }) => [name, health, lastError])), Object.keys(FIRING).map((name) => [name, 'ok', undefined]))
})

/** What Grafana puts in the place of its variables. */
function withVariables(query: string): string {
  return query.replaceAll('$__rate_interval', '10s').replaceAll(/\$\{?(?:instance|job)\b\}?/g, '.*').replaceAll('$__interval', '1s')
}

/** Locks that are granted, waited for, refused, renewed, released and left to expire, and a fault. */
async function someOfEverything(service: Service): Promise<void> {
  await service.request('a', 'p')
  const waits = service.request('a', 'q', { wait_seconds: 5 })
  await service.request('a', 'r')
  await service.call('POST', '/locks/renew', { resource_name: 'a', process_id: 'p' })
  await service.release('a', 'p')
  await waits
  await service.release('a', 'q')
  await service.request('b', 'p', { ttl_seconds: 0.05 })
  await service.call('POST', '/locks/request', {})
}

/** @param args of promtool; the last may be a text that it reads from its input. */
function promtool(t: Test, ...args: string[]): void {
  const input = args[1] === 'metrics' ? args.pop() : undefined
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', ...(input === undefined ? {} : { input }) })
  t.equal(status, 0, `promtool ${args.slice(0, 2).join(' ')}: ${stdout}${stderr}`)
}
