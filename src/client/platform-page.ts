import type * as node from './platform-node.js'

/* What `platform-node.ts` has, as far as pages can. */

/** A clock that is set forward ends leases early, never late. */
export const clockWithSleep: typeof node.clockWithSleep = () => Date.now()

export const ownProcessId: typeof node.ownProcessId = (random) => random

/** Browsers do not tell why a request failed. */
export const reasonOf: typeof node.reasonOf = String

/** A page does not know which calls belong to one flow. */
export const outerLock: typeof node.outerLock = () => undefined

export const runInFlow: typeof node.runInFlow = (_locks, _lock, work) => work()

/** Nothing keeps a page alive. */
export const unref: typeof node.unref = () => {}

export const fetchInBackground: typeof node.fetchInBackground = (url, init) => fetch(url, init)
