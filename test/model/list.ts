import type { Grant } from '../../src/locks/lock.js'
import type { ListPage, ListQuery } from '../../src/locks/store.js'

export type CountQuery = Pick<ListQuery, 'prefix' | 'processId'>

/** One resource while a list was read: its valid grant at each moment, null when it was free. */
export interface Listed {
  readonly name: string
  readonly states: readonly (Grant | null)[]
}

/**
 * What is wrong with a page of the list. A page shows one moment, but nobody knows which one: what fitted all the time
 * must be there, what fitted at some time may be. With nothing going on beside it, that leaves one right page.
 */
export function faultOfPage(resources: readonly Listed[], query: ListQuery, page: ListPage): string | undefined {
  const { after, limit } = query
  const { grants, more } = page
  const { fits, candidates, always } = matching(resources, query)
  const last = grants.at(-1)?.resourceName ?? ''
  const isBehind = ({ name }: Listed): boolean => bytewise(name, last) > 0
  const isAskedFor = ({ name }: Listed): boolean => after === null || bytewise(name, after.name) > 0

  const shown = new Map(grants.map((grant) => [grant.resourceName as string, grant]))
  const known = new Map(candidates.filter(isAskedFor).map((resource) => [resource.name, resource.states]))
  for (const [name, grant] of shown) {
    if (known.get(name)?.some((state) => fits(state) && matches(grant, state)) !== true) return `shows ${JSON.stringify(grant)}`
  }
  const missing = always.filter(isAskedFor).find((resource) => !shown.has(resource.name) && !(more && isBehind(resource)))
  if (missing !== undefined) return `leaves out ${JSON.stringify(missing)}`
  if (grants.some(({ resourceName }, index) => index > 0 && bytewise(resourceName, grants[index - 1]?.resourceName ?? '') <= 0)) {
    return 'is out of order'
  }
  if (more ? grants.length !== limit : grants.length > limit) return `has ${grants.length} grants`
  if (more && !candidates.some(isBehind)) return 'promises more where nothing follows'
  return undefined
}

/** What is wrong with a count, which may have come across each resource at another moment. */
export function faultOfCount(resources: readonly Listed[], query: CountQuery, count: number): string | undefined {
  const { candidates, always } = matching(resources, query)
  if (count >= always.length && count <= candidates.length) return undefined
  return `expected ${always.length} to ${candidates.length}`
}

function matching(resources: readonly Listed[], { prefix, processId }: CountQuery) {
  const fits = (grant: Grant | null): boolean => grant !== null && (processId === null || grant.processId === processId)
  const candidates = resources.filter(({ name, states }) => name.startsWith(prefix) && states.some(fits))
  return { fits, candidates, always: candidates.filter(({ states }) => states.every(fits)) }
}

/** In the order of their UTF-8 bytes; JavaScript's own order puts characters beyond U+FFFF before some that are within. */
export function bytewise(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Whether an answer says at least all that was expected. */
export function matches(answer: unknown, expected: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return Object.is(answer, expected)
  if (typeof answer !== 'object' || answer === null) return false
  if (Array.isArray(expected) && (!Array.isArray(answer) || answer.length !== expected.length)) return false
  return Object.entries(expected).every(([key, value]) => matches((answer as Record<string, unknown>)[key], value))
}

export function unlessOneOf(allowed: readonly object[], answer: object): string | undefined {
  if (allowed.some((one) => matches(answer, one))) return undefined
  return `expected ${allowed.map((one) => JSON.stringify(one)).join(' or ')}`
}
