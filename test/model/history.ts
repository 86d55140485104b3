import type { Latest } from './grants.js'
import { hasExpired } from './grants.js'
import type { EpochMs, Grant } from '../../src/locks/lock.js'
import type { EventKind, LockEvent } from '../../src/locks/store.js'
import { matches } from './list.js'

type Expected = Omit<LockEvent, 'eventId'>

/** What the history must tell: of each resource exactly that, and in that order. Only when an expiry is told is left open. */
export class ExpectedHistory {
  readonly #due = new Map<string, Expected[]>()

  expect(kind: EventKind, at: EpochMs, { resourceName, lockId, processId }: Grant, reason: string | null = null): void {
    const due = this.#due.get(resourceName) ?? []
    due.push({ kind, at, resourceName, lockId, processId, reason })
    this.#due.set(resourceName, due)
  }

  /** To be told before the next grant of the resource at the latest; unless it was read already. */
  expectExpiry({ grant, endTold }: Latest): void {
    if (!endTold) this.expect('expired', grant.expiresAt ?? 0, grant)
  }

  /** What is wrong with the events since the last reading. Nothing may go on meanwhile. */
  fault(events: readonly LockEvent[], latest: ReadonlyMap<string, Latest>, now: EpochMs): string | undefined {
    for (const event of events) {
      const last = latest.get(event.resourceName)
      const next = this.#due.get(event.resourceName)?.shift() ?? (last === undefined ? undefined : openExpiry(last, now))
      if (next === undefined) return `tells ${JSON.stringify(event)}, which did not happen`
      if (!matches(event, next)) return `tells ${JSON.stringify(event)} instead of ${JSON.stringify(next)}`
      if (last !== undefined && event.kind === 'expired' && event.lockId === last.grant.lockId) last.endTold = true
    }
    const missing = [...this.#due.values()].flat()[0]
    if (missing !== undefined) return `leaves out ${JSON.stringify(missing)}`
    this.#due.clear()
    const untold = [...latest.values()].find((last) => last.marked === 'yes' && openExpiry(last, now) !== undefined)
    return untold && `leaves out that ${JSON.stringify(untold.grant)} expired, which the sweeper has seen`
  }
}

/** The expiry that may be told of by now and was not read yet. */
function openExpiry(latest: Latest, now: EpochMs): Expected | undefined {
  if (latest.endTold || !hasExpired(latest, now)) return undefined
  const { resourceName, lockId, processId, expiresAt } = latest.grant
  return { kind: 'expired', at: expiresAt ?? 0, resourceName, lockId, processId, reason: null }
}
