/** Nearly every name has none of the characters whose order differs. */
const BEYOND = /[\ud800-\uffff]/

/** The service's order, that of the UTF-8 bytes: JavaScript's own puts characters beyond U+FFFF before some that are within. */
export function compareNames(a: string, b: string): number {
  if (a === b) return 0
  if (!BEYOND.test(a) || !BEYOND.test(b)) return a < b ? -1 : 1
  const right = Array.from(b)
  for (const [index, character] of Array.from(a).entries()) {
    const difference = (character.codePointAt(0) ?? 0) - (right[index]?.codePointAt(0) ?? -1)
    if (difference !== 0) return difference
  }
  return -1
}

/** The beginning that a name shares with its kind, up to the first slash or colon; empty where it has none. */
export function groupOf(name: string): string {
  const end = name.search(/[/:]/)
  return end < 0 ? '' : name.slice(0, end + 1)
}
