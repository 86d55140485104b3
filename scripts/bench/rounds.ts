import { median, milliseconds, ratio, table } from './figures.js'
import type { LoadResult, LoadSpec, ServerSpec } from './messages.js'
import { runLoad, Server } from './processes.js'
import { processorMicros } from './processor-time.js'
import type { Surroundings } from './surroundings.js'

/** What is measured: a server of ours, or another system that the load asks itself. */
export interface Subject {
  readonly title: string
  readonly spec?: ServerSpec
  /** The folder of the build, where it is not this one. */
  readonly build?: string
  /** Instead of `spec`. */
  readonly direct?: { readonly what: LoadSpec['what']; readonly port: number }
  /** The database, whose processes count too. */
  readonly pids?: readonly number[]
  /** It would wait on one hot name rather than refuse. */
  readonly onlyRandom?: boolean
}

export interface Cell {
  readonly title: string
  readonly connections: number
  readonly names: number
  readonly what?: LoadSpec['what']
}

interface Measured extends LoadResult {
  /** Of the server process alone, and of it and its database, for each answer. */
  readonly serviceMicros: number
  readonly allMicros: number
  readonly heldUpMs: number
}

type Figure = 'requestsPerSecond' | 'p50' | 'p99' | 'serviceMicros' | 'allMicros'

/** How many flushes are timed in each round. */
const FLUSHES = 40

/** What was measured, round after round, each subject in each cell. */
export class Rounds {
  readonly #results = new Map<string, Map<Cell, Measured[]>>()
  readonly #cells: readonly Cell[]
  readonly flushMs: number[] = []

  private constructor(subjects: readonly Subject[], cells: readonly Cell[]) {
    this.#cells = cells
    for (const { title } of subjects) this.#results.set(title, new Map(cells.map((cell) => [cell, []])))
  }

  /** The order of the subjects turns by one from round to round. */
  static async measure({ effort, flushes }: Surroundings, subjects: readonly Subject[], cells: readonly Cell[]): Promise<Rounds> {
    const rounds = new Rounds(subjects, cells)
    const servers: { subject: Subject; server: Server | undefined }[] = []
    try {
      for (const subject of subjects) servers.push({ subject, server: subject.spec === undefined ? undefined : await Server.start(subject.spec, subject.build) })
      for (let round = 0; round < effort.rounds; round += 1) {
        rounds.flushMs.push(...flushes(FLUSHES))
        const turn = round % servers.length
        for (const cell of cells) {
          for (const { subject, server } of [...servers.slice(turn), ...servers.slice(0, turn)]) {
            if (subject.onlyRandom === true && cell.names === 1) continue
            rounds.of(subject.title, cell).push(await run(subject, server, cell, effort))
          }
        }
        process.stderr.write(`round ${round + 1} of ${effort.rounds}\n`)
      }
      return rounds
    } finally {
      for (const { server } of servers) await server?.[Symbol.asyncDispose]()
    }
  }

  get titles(): string[] {
    return [...this.#results.keys()]
  }

  of(title: string, cell: Cell): Measured[] {
    return this.#results.get(title)?.get(cell) ?? []
  }

  medianOf(title: string, cell: Cell, figure: Figure): number {
    return median(this.of(title, cell).map((measured) => measured[figure]))
  }

  /** That figure as a multiple of another subject's of the same round, in each round. */
  shares(title: string, cell: Cell, figure: Figure, of: string): number[] {
    const whole = this.of(of, cell)
    return this.of(title, cell).map((measured, round) => measured[figure] / (whole[round]?.[figure] ?? Number.NaN))
  }

  /** A table with a row for each subject and a column for each cell. */
  grid(text: (title: string, cell: Cell) => string, cells = this.#cells): string {
    return table(
      ['', ...cells.map(({ title }) => title)],
      this.titles.map((title) => [title].concat(cells.map((cell) => text(title, cell))))
    )
  }

  ratios(figure: Figure, of: string, cells = this.#cells): string {
    return this.grid((title, cell) => ratio(this.shares(title, cell, figure, of)), cells)
  }

  /** The medians of the rounds' median and 99th percentile. */
  latency(title: string, cell: Cell): string {
    const [p50, p99] = (['p50', 'p99'] as const).map((figure) => milliseconds([this.medianOf(title, cell, figure)]).split(' ')[0] ?? '')
    return `${p50} / ${p99} ms`
  }

  /** How long the event loops of the servers were held up. */
  stalls(): string {
    const worst = [...this.#results].flatMap(([title, cells]) => {
      const ms = [...cells.values()].flatMap((measured) => measured.map(({ heldUpMs }) => heldUpMs)).filter((held) => !Number.isNaN(held))
      return ms.length === 0 ? [] : [`${title} ${median(ms).toFixed(0)} / ${Math.max(...ms).toFixed(0)} ms`]
    })
    return `Longest time the event loop was held up in a run, median of the runs / worst run: ${worst.join('; ')}.`
  }
}

async function run({ direct, pids = [] }: Subject, server: Server | undefined, cell: Cell, { warmUpMs, measureMs }: Surroundings['effort']): Promise<Measured> {
  const { connections, names, what = 'pairs' } = cell
  const before = processorMicros(pids)
  await server?.reset()
  const result = await runLoad({ what: direct?.what ?? what, port: direct?.port ?? server?.port ?? 0, connections, names, prefix: 'bench-', warmUpMs, measureMs })
  const usage = await server?.usage()
  const databaseMicros = processorMicros(pids) - before
  return {
    ...result,
    serviceMicros: (usage?.cpuMicros ?? Number.NaN) / result.answers,
    allMicros: ((usage?.cpuMicros ?? 0) + databaseMicros) / result.answers,
    heldUpMs: usage?.heldUpMs ?? Number.NaN
  }
}
