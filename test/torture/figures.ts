import type { Findings } from './checker/check.js'
import type { Operation } from './checker/operation.js'
import type { FaultKind } from './faults.js'

/** What a run has come to. */
export class Figures {
  readonly faults = new Map<FaultKind, number>()
  readonly violations: string[] = []
  readonly lost: string[] = []
  operations = 0
  grants = 0
  /** Grants of shares, conversions, revocations, and releases after which the resource was kept. */
  readonly mix = { shares: 0, conversions: 0, revocations: 0, kept: 0 }
  unknown = 0
  /** Unknown outcomes that no repetition was answered for. */
  unresolved = 0
  histories = 0
  undecided = 0
  epochs = 0
  /** Keys that were replaced, how often the clock was set, and the connections of watchers. */
  readonly beside = { rotations: 0, clockMoves: 0, streams: 0, events: 0 }
  readonly #began = Date.now()

  add(operations: readonly Operation[], { histories, violations, lost, undecided }: Findings): void {
    this.epochs += 1
    this.operations += operations.length
    this.grants += operations.filter(({ answer }) => answer.kind === 'granted' && !answer.replayed).length
    this.mix.shares += operations.filter(({ answer }) => answer.kind === 'granted' && !answer.replayed && (answer.grant.sharing ?? null) !== null).length
    this.mix.conversions += operations.filter(({ answer }) => answer.kind === 'converted').length
    this.mix.revocations += operations.filter(({ answer }) => answer.kind === 'revoked').length
    this.mix.kept += operations.filter(({ answer }) => answer.kind === 'released' && typeof answer.freeAt === 'number').length
    const unknown = operations.filter(({ answer }) => answer.kind === 'unknown')
    this.unknown += unknown.length
    this.unresolved += unknown.filter((one) => !operations.some((other) => isRepetition(one, other))).length
    this.histories += histories
    this.undecided += undecided
    this.violations.push(...violations)
    this.lost.push(...lost)
  }

  get clean(): boolean {
    return this.violations.length === 0 && this.lost.length === 0 && this.undecided === 0
  }

  /** One line. */
  get progress(): string {
    const seconds = Math.round((Date.now() - this.#began) / 1000)
    const faults = [...this.faults.values()].reduce((sum, count) => sum + count, 0)
    return `${seconds} s: ${this.operations} operations, ${faults} faults, ${this.histories} histories checked, ${this.unknown} answers lost, ${this.violations.length} violations, ${this.lost.length} acknowledged grants lost`
  }

  /** All of it, for the end. */
  get report(): string {
    const rows: [string, number][] = [
      ['operations', this.operations],
      ['grants', this.grants],
      ['of them shares', this.mix.shares],
      ['conversions', this.mix.conversions],
      ['revocations', this.mix.revocations],
      ['resources kept after a release', this.mix.kept],
      ['answers lost', this.unknown],
      ['unresolved unknowns', this.unresolved],
      ['keys replaced', this.beside.rotations],
      ['clock set', this.beside.clockMoves],
      ['streams of watchers', this.beside.streams],
      ['events compared with them', this.beside.events],
      ['histories checked', this.histories],
      ['histories undecided', this.undecided],
      ['violations', this.violations.length],
      ['acknowledged grants lost', this.lost.length],
      ...[...this.faults].toSorted(([a], [b]) => a.localeCompare(b)).map(([kind, count]): [string, number] => [`fault: ${kind}`, count])
    ]
    return rows.map(([what, count]) => `${what.padEnd(48)}${String(count).padStart(10)}`).join('\n')
  }
}

/** The same was asked again, later, and answered. */
function isRepetition(one: Operation, other: Operation): boolean {
  if (other.called < one.called || other.answer.kind === 'unknown' || other.resource !== one.resource || other.ask.kind !== one.ask.kind) return false
  if (one.ask.kind === 'request') return other.ask.kind === 'request' && one.ask.requestId !== null && one.ask.requestId === other.ask.requestId
  return one.ask.kind === 'look' || ('process' in one.ask && 'process' in other.ask && one.ask.process === other.ask.process)
}
