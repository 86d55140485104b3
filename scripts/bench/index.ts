import { spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { handOver } from './hand-over.js'
import { instances } from './instances.js'
import { scale } from './scale.js'
import { shares } from './shares.js'
import { surroundings, type Effort, type Surroundings } from './surroundings.js'
import { history, throughput } from './throughput.js'

/**
 * `npm run bench -- [--quick] [--only NAME,…] [--against DIST,…] [--out FILE]`
 * `npm run bench -- --only instances [--instances 1,2,4,8]`
 *
 * Measures everything side by side, prints it, and writes it to `docs/benchmark.md` when nothing was left out, or to the
 * file named. `--against` measures other builds of this project in the same rounds, beside the ceiling alone.
 */

const PARTS = { throughput, history, shares, 'hand-over': handOver, scale, instances } as const
type Part = keyof typeof PARTS

const FULL: Omit<Effort, 'instances'> = { rounds: 5, warmUpMs: 300, measureMs: 1300, liveLocks: [1000, 100_000, 1_000_000], expiredRows: 100_000, handOvers: 400 }
const QUICK: Omit<Effort, 'instances'> = { rounds: 3, warmUpMs: 200, measureMs: 600, liveLocks: [1000, 100_000], expiredRows: 20_000, handOvers: 100 }

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
  const names = options.only?.split(',') ?? Object.keys(PARTS).filter((name) => name !== 'instances')
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
  const isWhole = options.only === undefined && !options.quick && options.against === undefined
  const out = options.out ?? (isWhole ? 'docs/benchmark.md' : undefined)
  if (out === undefined) return
  await mkdir(dirname(resolve(out)), { recursive: true })
  await writeFile(out, `${parts.join('\n\n')}\n`)
}

function head({ redis, postgresVersion, effort }: Surroundings): string {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout?.trim() ?? ''
  return [
    '# Benchmark',
    `Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}${commit === '' ? '' : `, at ${commit}`}: ${machine}; Node.js ${process.version}, ` +
      `PostgreSQL ${postgresVersion}${redis === undefined ? '' : `, Redis ${redis.version}`}, ${process.platform}. ` +
      `${effort.rounds} interleaved rounds of ${effort.measureMs / 1000} s each. ` +
      'The server, the load, PostgreSQL and Redis share the machine; what matters are the ratios. ' +
      `Load average before the run: ${loadBefore.toFixed(1)}${loadBefore > 0.5 ? ' (the machine was busy with other things: repeat on a quiet one)' : ''}.`,
    'SQLite: write-ahead log, `synchronous=FULL`. PostgreSQL: as it comes (`fsync` and `synchronous_commit` on), and history on, as is the default. ' +
      'The naive transaction is as durable as the service. Redis keeps everything in memory and nothing on the disk: its locks are gone with it, and it has no fencing tokens, history or queue.'
  ].join('\n\n')
}

await main()
