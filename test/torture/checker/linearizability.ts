import { NEVER_LOCKED, step } from './lock-model.js'
import { describe, type Operation, type Tolerance } from './operation.js'
import { mayTake, type State, type Tenure } from './tenure.js'

export type Verdict =
  | { readonly kind: 'linearizable' }
  /** No order explains the answers. `why` shows how far the best order came, and none of `stuck` could follow. */
  | { readonly kind: 'impossible'; readonly why: string; readonly stuck: readonly Operation[]; readonly holders: readonly string[] }
  /** The search was given up. */
  | { readonly kind: 'undecided' }

/** States that are looked at before the search is given up: a second or two. */
export const MOST_STATES = 15_000

/**
 * Whether the operations on one resource could have happened one after another, each at some instant between its call and
 * its answer, as the model says (Wing and Gong's search with Lowe's memory of what was tried). An operation of unknown
 * outcome may take effect at any time after its call, or never.
 */
export function judge(operations: readonly Operation[], tolerance: Tolerance, mostStates = MOST_STATES): Verdict {
  const search = new Search(operations, tolerance, mostStates)
  if (search.run(NEVER_LOCKED)) return { kind: 'linearizable' }
  return search.exhausted ? { kind: 'undecided' } : { kind: 'impossible', ...search.failure }
}

class Search {
  /** In the order of their calls. */
  readonly #answered: readonly Operation[]
  readonly #open: readonly Operation[]
  readonly #tolerance: Tolerance
  readonly #mostStates: number
  readonly #placed = new Set<Operation>()
  readonly #seen = new Set<string>()
  /** When the last answer that each process was given came. */
  readonly #lastAnswers = new Map<string, number>()
  #best: { placed: number; state: State; stuck: readonly Operation[] } = { placed: -1, state: NEVER_LOCKED, stuck: [] }

  constructor(operations: readonly Operation[], tolerance: Tolerance, mostStates: number) {
    const sorted = operations.toSorted((a, b) => a.called - b.called)
    this.#answered = sorted.filter(({ answered }) => answered !== Number.POSITIVE_INFINITY)
    this.#open = sorted.filter(({ answered }) => answered === Number.POSITIVE_INFINITY)
    this.#tolerance = tolerance
    this.#mostStates = mostStates
    for (const { ask, answered } of this.#answered) {
      if ('process' in ask && ask.process !== null) this.#lastAnswers.set(ask.process, Math.max(answered, this.#lastAnswers.get(ask.process) ?? 0))
    }
  }

  get exhausted(): boolean {
    return this.#seen.size >= this.#mostStates
  }

  get failure(): { why: string; stuck: readonly Operation[]; holders: readonly string[] } {
    const { placed, state, stuck } = this.#best
    return { why: `after ${placed} operations in ${JSON.stringify(state)} none can follow of\n  ${stuck.map(describe).join('\n  ')}`, stuck, holders: state.tenures.map(({ process }) => process) }
  }

  /** @param front how many answered operations at the beginning are placed already. */
  run(state: State, front = 0): boolean {
    const absorbed: Operation[] = []
    const next = this.#absorb(state, front, absorbed)
    if (next === this.#answered.length) return true
    if (this.#isNew(state, next)) {
      for (const operation of this.#candidates(next)) {
        const after = step(state, operation, this.#tolerance)
        if (after === undefined) continue
        this.#placed.add(operation)
        if (this.run(this.#withoutForgotten(after, operation), next)) return true
        this.#placed.delete(operation)
      }
    }
    for (const operation of absorbed) this.#placed.delete(operation)
    return false
  }

  /** What is true already and changes nothing can be placed at once: no order is lost by it. */
  #absorb(state: State, front: number, absorbed: Operation[]): number {
    for (let next = front; ; ) {
      while (next < this.#answered.length && this.#placed.has(this.#answered[next] as Operation)) next += 1
      const fits = this.#minimal(next).filter((operation) => step(state, operation, this.#tolerance) === state)
      if (fits.length === 0) return next
      for (const operation of fits) this.#placed.add(operation)
      absorbed.push(...fits)
    }
  }

  /** What may come next: nothing that is still to be placed was answered before it was called. */
  #minimal(front: number): Operation[] {
    const minimal: Operation[] = []
    let firstAnswer = Number.POSITIVE_INFINITY
    for (let index = front; index < this.#answered.length; index += 1) {
      const operation = this.#answered[index] as Operation
      if (operation.called > firstAnswer) break
      if (this.#placed.has(operation)) continue
      minimal.push(operation)
      firstAnswer = Math.min(firstAnswer, operation.answered)
    }
    return minimal.filter(({ called }) => called < firstAnswer)
  }

  /** The likeliest first: by the database's time where it is known; what nobody was told only where nothing else helps. */
  #candidates(front: number): Operation[] {
    const minimal = this.#minimal(front)
    const firstAnswer = Math.min(...minimal.map(({ answered }) => answered))
    const open = this.#open.filter((operation) => operation.called < firstAnswer && !this.#placed.has(operation))
    return [...minimal, ...open].toSorted((a, b) => timeOf(a) - timeOf(b))
  }

  #isNew(state: State, front: number): boolean {
    if (this.exhausted) return false
    if (this.#placed.size > this.#best.placed) this.#best = { placed: this.#placed.size, state, stuck: this.#minimal(front) }
    const key = `${front} ${this.#ahead(front).join()} ${keyOf(state)}`
    if (this.#seen.has(key)) return false
    this.#seen.add(key)
    return true
  }

  /** Grants that are over need not be remembered once their process was given its last answer; the latest tells why nobody holds it. */
  #withoutForgotten(state: State, { called }: Operation): State {
    const latest = state.tenures.at(-1)
    const tenures = state.tenures.filter((tenure) => tenure === latest || mayTake(tenure, state.now) || (this.#lastAnswers.get(tenure.process) ?? 0) >= called)
    return tenures.length === state.tenures.length ? state : { ...state, tenures }
  }

  /** What is placed beyond the front; nothing there was called after the front's answer. */
  #ahead(front: number): number[] {
    const ahead = this.#open.filter((operation) => this.#placed.has(operation)).map(({ id }) => id)
    const lastCall = this.#answered[front]?.answered ?? 0
    for (let index = front; index < this.#answered.length; index += 1) {
      const operation = this.#answered[index] as Operation
      if (operation.called > lastCall) break
      if (this.#placed.has(operation)) ahead.push(operation.id)
    }
    return ahead
  }
}

const keysOfTenures = new WeakMap<Tenure, string>()

/** The same text for states that are the same. */
function keyOf({ now, last, used, tenures }: State): string {
  const texts = tenures.map((tenure) => {
    const known = keysOfTenures.get(tenure) ?? JSON.stringify(Object.values(tenure))
    keysOfTenures.set(tenure, known)
    return known
  })
  return `${now} ${last} ${used.join()} ${texts.join()}`
}

function timeOf({ answer }: Operation): number {
  switch (answer.kind) {
    case 'granted':
      return answer.replayed ? 0 : answer.grant.lockedAt
    case 'renewed':
    case 'released':
      return answer.at
    case 'converted':
      return answer.grant.lockedAt
    case 'revoked':
    case 'held':
    case 'reused':
    case 'not-held':
    case 'changed':
    case 'free':
      return 0
    case 'unknown':
      return Number.MAX_SAFE_INTEGER
  }
}
