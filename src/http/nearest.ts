const MAX_CHARACTERS = 40
const MIN_PREFIX = 3
const MAX_TYPOS = 2

/** The one of the known names that was most likely meant by another one; undefined where none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const text = plain(name)
  if (name.length > MAX_CHARACTERS || text === '') return undefined
  const beginsAlike = (other: string): boolean =>
    Math.min(text.length, other.length) >= MIN_PREFIX && (other.startsWith(text) || text.startsWith(other))
  return (
    known.find((other) => plain(other) === text) ??
    known.find((other) => beginsAlike(plain(other))) ??
    known.find((other) => typos(text, plain(other)) <= Math.min(MAX_TYPOS, text.length / 3)) ??
    onlyOne(known.filter((other) => other.split('_').includes(text)))
  )
}

/** `ttlSeconds`, `TTL-Seconds` and `ttl_seconds` are one name. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

function onlyOne(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined
}

/** How many characters to insert, remove or replace to make one text of the other (Levenshtein). */
function typos(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let at = 1; at <= from.length; at += 1) {
    const next = [at]
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (row[column - 1] ?? 0) + (from[at - 1] === to[column - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
