import type { Answer, Ask, Operation } from './checker/operation.js'

/** What one call asks of each resource that it names. */
export type Asks = readonly (readonly [resource: string, ask: Ask])[]

/** Writes down what clients ask and are told, in the order in which they see it. */
export class Recorder {
  #operations: Operation[] = []
  #stamp = 0
  #ids = 0

  /** Notes a call; what it resolves to is to be told with the answers: in the order of the asks, undefined where nothing is known or happened. */
  begin(asks: Asks): (answers: readonly (Answer | undefined)[]) => void {
    const called = this.#tick()
    const calledAt = Date.now()
    return (answers) => {
      const answered = this.#tick()
      const answeredAt = Date.now()
      for (const [index, [resource, ask]] of asks.entries()) {
        const answer = answers[index]
        if (answer === undefined) continue
        const end = answer.kind === 'unknown' ? { answered: Number.POSITIVE_INFINITY, answeredAt: Number.POSITIVE_INFINITY } : { answered, answeredAt }
        this.#operations.push({ id: (this.#ids += 1), resource, ask, answer, called, calledAt, ...end })
      }
    }
  }

  /** Hands out what was written down and begins anew. */
  take(): Operation[] {
    const operations = this.#operations
    this.#operations = []
    return operations
  }

  #tick(): number {
    return (this.#stamp += 1)
  }
}
