/** Query parameters that are numbers. Anything else, `30` included, stays text, and what is not a plain number stays text too. */
const NUMBERS = new Set(['lock_id', 'limit'])
const PLAIN_NUMBER = /^(?:0|[1-9][0-9]{0,15})$/

/** Stands for bytes that are no UTF-8: no name with it is well formed, so that it is refused instead of quietly replaced. */
const UNREADABLE = '\ud800'

/** Reads a query string; a parameter given twice becomes a list, which no schema accepts. */
export function parseQueryString(text: string): Record<string, unknown> {
  const query: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  if (text === '') return query
  for (const pair of text.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decode(equals < 0 ? pair : pair.slice(0, equals))
    const raw = equals < 0 ? '' : decode(pair.slice(equals + 1))
    const value = NUMBERS.has(name) && PLAIN_NUMBER.test(raw) ? Number(raw) : raw
    const present = query[name]
    query[name] = present === undefined ? value : [present, value].flat()
  }
  return query
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text)
  } catch {
    return UNREADABLE
  }
}
