import type { Conflict } from '../client/index.js'
import type { Screen } from './screen.js'
import { cut, lengthText, ordinal } from './text.js'

/** One line on a terminal that says what a wait is for, and is gone afterwards. */
export class WaitingLine implements Disposable {
  readonly #screen: Screen
  #shown = false

  constructor(screen: Screen) {
    this.#screen = screen
  }

  show(conflict: Conflict): void {
    this.#shown = true
    // Only the last line can be written over.
    this.#screen.overwrite(this.#screen.styled('dim', cut(`rlm: ${waitingText(conflict)}`, this.#screen.columns - 1)))
  }

  [Symbol.dispose](): void {
    if (this.#shown) this.#screen.overwrite('')
    this.#shown = false
  }
}

function waitingText({ resourceName, lockedBy, lockId, retryAfterSeconds, queuePosition, waiters }: Conflict): string {
  const place = queuePosition === null ? `${waiters} in line` : `${ordinal(queuePosition)} of ${Math.max(waiters, queuePosition)} in line`
  if (lockId === null) return `waiting for '${resourceName}', ${place}: it is the turn of '${lockedBy}'`
  const end = retryAfterSeconds === null ? 'without an end' : `ends in ${lengthText(retryAfterSeconds * 1000)} unless renewed`
  return `waiting for '${resourceName}', ${place}: held by '${lockedBy}', ${end}`
}
