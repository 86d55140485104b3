/** Query parameters that are numbers. Anything else, `30` included, stays text, and what is not a plain number stays text too. */
const NUMBERS = new Set(['lock_id', 'limit'])
const PLAIN_NUMBER = /^(?:0|[1-9][0-9]{0,15})$/

/** Stands for bytes that are no UTF-8: no name with it is well formed, so that it is refused instead of quietly replaced. */
const UNREADABLE = '\ud800'

/**
 * More parameters than any call has. Those after them are not read: one of the first is then unknown or given twice, which
 * is refused wherever parameters matter.
 */
export const MAX_PARAMETERS = 32

/** Reads a query string, before anybody is known to be allowed to ask; a parameter given twice becomes a list, which no schema accepts. */
export function parseQueryString(text: string): Record<string, unknown> {
  const query: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  let read = 0
  for (let start = 0; start < text.length && read < MAX_PARAMETERS; ) {
    const next = text.indexOf('&', start)
    const end = next < 0 ? text.length : next
    if (end > start) {
      addPair(query, text.slice(start, end))
      read += 1
    }
    start = end + 1
  }
  return query
}

function addPair(query: Record<string, unknown>, pair: string): void {
  const equals = pair.indexOf('=')
  const name = decode(equals < 0 ? pair : pair.slice(0, equals))
  const raw = equals < 0 ? '' : decode(pair.slice(equals + 1))
  const value = NUMBERS.has(name) && PLAIN_NUMBER.test(raw) ? Number(raw) : raw
  const present = query[name]
  if (Array.isArray(present)) present.push(value)
  else query[name] = present === undefined ? value : [present, value]
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text)
  } catch {
    return UNREADABLE
  }
}
