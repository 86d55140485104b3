import type * as node from './platform-node.js'

/* What `platform-node.ts` has, as far as pages can. */

/** Setting it forward ends leases early, never late. */
export const clockWithSleep: typeof node.clockWithSleep = () => Date.now()

export const ownProcessId: typeof node.ownProcessId = (random) => random

/** A page does not know which calls belong to one flow. */
export class FlowStorage<Flow> {
  getStore(): Flow | undefined {
    return undefined
  }

  run<Result>(_flow: Flow, work: () => Result): Result {
    return work()
  }
}

/** Nothing keeps a page alive. */
export const fetchInBackground: typeof node.fetchInBackground = (url, init) => fetch(url, init)
