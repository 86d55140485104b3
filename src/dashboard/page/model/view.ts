import { SORTS, type Sort } from './rows.js'

/** What the page shows, as its address says: so that it can be sent to a colleague, and that going back works. */
export interface View {
  readonly filter: string
  readonly sort: Sort
  /** The resource whose page is open; null shows the table. */
  readonly resource: string | null
}

export function viewFromSearch(search: string): View {
  const parameters = new URLSearchParams(search)
  const sort = parameters.get('sort')
  return {
    filter: parameters.get('q') ?? '',
    sort: SORTS.find((known) => known === sort) ?? 'name',
    resource: parameters.get('resource')
  }
}

/** Empty where the view is the one that nothing was chosen for. */
export function searchFromView({ filter, sort, resource }: View): string {
  const parameters = new URLSearchParams()
  if (resource !== null) parameters.set('resource', resource)
  if (filter !== '') parameters.set('q', filter)
  if (sort !== 'name') parameters.set('sort', sort)
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}
