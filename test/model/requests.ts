import type { AcquireCommand, AcquireOutcome, IdempotencyKey } from '../../src/locks/commands.js'
import type { EpochMs, Grant, ResourceName } from '../../src/locks/lock.js'
import { KEEP_REQUEST_MS } from '../../src/storage/tables.js'

type Holder = (name: ResourceName) => Grant | null

interface Memory {
  readonly fingerprint: string
  readonly grants: readonly Grant[]
  /** Until when it is remembered at least and at most, should nothing of it be held then: a sweep may have put it off. */
  until: EpochMs
  untilAtMost: EpochMs
}

/** The granted requests that bore an id. */
export class RememberedRequests {
  readonly #memories = new Map<string, Memory>()
  readonly #holder: Holder

  constructor(holder: Holder) {
    this.#holder = holder
  }

  /** Whose grants the id is remembered for. */
  namesOf(id: string): readonly ResourceName[] | undefined {
    return this.#memories.get(id)?.grants.map(({ resourceName }) => resourceName)
  }

  remember({ idempotencyKey: mark, ttlMs }: AcquireCommand, grants: readonly Grant[], now: EpochMs): void {
    if (mark === null) return
    const until = now + Math.max(ttlMs ?? 0, KEEP_REQUEST_MS)
    this.#memories.set(mark.id, { fingerprint: mark.fingerprint, grants, until, untilAtMost: until })
  }

  /** What a request with that mark is answered, if it is recognised; `surely` not where it may be forgotten. */
  recognise({ id, fingerprint }: IdempotencyKey, now: EpochMs): { outcome: AcquireOutcome; surely: boolean } | undefined {
    const memory = this.#memories.get(id)
    if (memory === undefined) return undefined
    const held = this.#heldOf(memory)
    if (held.length === memory.grants.length && fingerprint === memory.fingerprint) {
      return { outcome: { kind: 'granted', grants: held, replayed: true }, surely: true }
    }
    if (held.length === 0 && memory.untilAtMost <= now) return undefined
    return { outcome: { kind: 'request-id-reused' }, surely: held.length > 0 || now < memory.until }
  }

  /** A sweep forgets what is past its time, and puts off what is held. @param all whether it has surely got to the last of them. */
  swept(now: EpochMs, all: boolean): void {
    for (const [id, memory] of this.#memories) {
      if (memory.until > now) continue
      const held = this.#heldOf(memory).length > 0
      const surelyDue = all && memory.untilAtMost <= now
      if (held) memory.untilAtMost = now + KEEP_REQUEST_MS
      if (held && surelyDue) memory.until = memory.untilAtMost
      if (!held && surelyDue) this.#memories.delete(id)
    }
  }

  /** As they are now, in the order of the request. */
  #heldOf({ grants }: Memory): Grant[] {
    return grants.flatMap(({ resourceName, lockId }) => {
      const grant = this.#holder(resourceName)
      return grant?.lockId === lockId ? [grant] : []
    })
  }
}
