import { spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { handOver } from './hand-over.js'
import { instances } from './instances.js'
import { renewals } from './renewals.js'
import { scale } from './scale.js'
import { shares } from './shares.js'
import { surroundings, type Effort, type Surroundings } from './surroundings.js'
import { builds, history, throughput } from './throughput.js'
import { waiters } from './waiters.js'
import { watch } from './watch.js'

/**
 * `npm run bench -- [--quick] [--only NAME,…] [--against DIST,…] [--out FILE]`
 * `npm run bench -- --only instances [--instances 1,2,4,8]`
 *
 * Measures everything side by side, prints it, and writes it to `docs/benchmark.md` when nothing was left out, or to the
 * file named. `--against` adds `builds`: the same service as other checkouts built it, by their folders `dist`.
 */

const PARTS = { throughput, builds, history, renewals, shares, 'hand-over': handOver, watch, waiters, scale, instances } as const
type Part = keyof typeof PARTS

const FULL: Omit<Effort, 'instances'> = {
  rounds: 5,
  warmUpMs: 250,
  measureMs: 1000,
  liveLocks: [1000, 100_000, 1_000_000],
  waiters: [0, 1000, 10_000],
  expiredRows: 100_000,
  handOvers: 500,
  watchMs: 5000
}
const QUICK: typeof FULL = { ...FULL, rounds: 3, warmUpMs: 200, measureMs: 600, liveLocks: [1000, 100_000], waiters: [0, 1000], expiredRows: 20_000, handOvers: 100, watchMs: 2000 }

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    instances: { type: 'string', default: '1,2,4' },
    against: { type: 'string' },
    rounds: { type: 'string' },
    out: { type: 'string' }
  }
})

/** How busy the machine was with other things before: a figure is only as good as the quiet around it. */
const loadBefore = loadavg()[0] ?? Number.NaN

async function main(): Promise<void> {
  const names = options.only?.split(',') ?? Object.keys(PARTS).filter((name) => name !== 'instances' && (name !== 'builds' || options.against !== undefined))
  const unknown = names.filter((name) => !(name in PARTS))
  if (unknown.length > 0) throw new Error(`--only ${unknown.join(', ')}: there are only ${Object.keys(PARTS).join(', ')}`)
  const effort = options.quick ? QUICK : FULL
  const rounds = options.rounds === undefined ? effort.rounds : Number(options.rounds)
  await using around = await surroundings({ ...effort, rounds, instances: options.instances.split(',').map(Number) }, options.against?.split(',').map((folder) => resolve(folder)) ?? [])
  const parts = [head(around)]
  for (const name of names) {
    process.stderr.write(`${name}\n`)
    const part = await PARTS[name as Part](around)
    process.stdout.write(`${part}\n\n`)
    parts.push(part)
  }
  const isWhole = options.only === undefined && !options.quick
  const out = options.out ?? (isWhole ? 'docs/benchmark.md' : undefined)
  if (out === undefined) return
  await mkdir(dirname(resolve(out)), { recursive: true })
  await writeFile(out, `${parts.join('\n\n')}\n`)
}

function head({ redis, etcd, postgres, effort }: Surroundings): string {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout?.trim() ?? ''
  const peers = [['Redis', redis], ['etcd', etcd]] as const
  const versions = peers.flatMap(([name, peer]) => (peer === undefined ? [] : [`, ${name} ${peer.version}`])).join('')
  return [
    '# Benchmark',
    `Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}${commit === '' ? '' : `, at ${commit}`}: ${machine}; Node.js ${process.version}, ` +
      `PostgreSQL ${postgres.version}${versions}, ${process.platform}. ` +
      `${effort.rounds} interleaved rounds of ${effort.measureMs / 1000} s each. ` +
      `Load average before the run: ${loadBefore.toFixed(1)}${loadBefore > 0.5 ? ' (the machine was busy with other things: repeat on a quiet one)' : ''}.`,
    ...HOW_TO_READ
  ].join('\n\n')
}

const HOW_TO_READ = [
  'How to read it. Server, load and databases share the machine, so that a figure of its own says little; what lasts are the ratios. A ratio compares two runs of the same round, ' +
    'a moment apart: the median of the rounds, with the quartiles in brackets.',
  [
    '- **Map**: the same HTTP service whose locks are in a `Map` in memory. What is beyond 1 there is what keeping the locks costs.',
    '- **bare**: a Fastify app with two routes, one schema and a `Map`, and nothing else. What the Map is beyond it is what the service does for each request besides.',
    '- **processor time**: of all processes together, for each answer: the server, and PostgreSQL with all its processes, Redis or etcd. It says how many answers a machine can give, and is the steadiest figure. ' +
      'Where the load asks a system directly, its own work for the protocol is not in it.',
    '- **p50, p99**: half of the answers, and 99 of 100, came within that time. At 64 connections 64 requests are under way at any time, so that these are times under full load.',
    '- **throughput**: answers per second, an acquire and a release being two. The load needs processor time too, about as much as the Map: this hides differences.',
    '- **random, 64**: 64 connections that acquire and release names out of a million; **one name**: all want the same one, and mostly are refused.'
  ].join('\n'),
  'Durability. SQLite: write-ahead log, `synchronous=FULL`. PostgreSQL: as it comes (`fsync` and `synchronous_commit` on). History on, as is the default. The naive transaction is as durable as the service. ' +
    'So is Redis with `appendfsync always`, and so is etcd. Redis in memory keeps nothing: its locks are gone with it. Neither Redis has fencing tokens, history or a queue.'
]

await main()
