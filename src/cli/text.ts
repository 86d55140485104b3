/** A length of time for people, in the two largest units: `850ms`, `12s`, `3m 20s`, `5h`, `2d 1h`. */
export function lengthText(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`
  const units = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1000, 's']
  ] as const
  const first = units.findIndex(([size]) => ms >= size)
  let rest = ms
  return units
    .slice(first, first + 2)
    .map(([size, unit]) => {
      const count = Math.floor(rest / size)
      rest -= count * size
      return count === 0 ? '' : `${count}${unit}`
    })
    .filter((part) => part !== '')
    .join(' ')
}

/** `2026-11-25 05:38:05Z` */
export function timeText(at: Date): string {
  return at.toISOString().replace('T', ' ').replace(/\.\d+Z$/, 'Z')
}

/** `1st`, `2nd`, `3rd`, `11th` */
export function ordinal(number: number): string {
  const teen = number % 100 >= 11 && number % 100 <= 13
  return `${number}${(teen ? undefined : ['st', 'nd', 'rd'][(number % 10) - 1]) ?? 'th'}`
}

/** Lines of columns, as wide as what is in them, with two spaces between. The last column is not padded. */
export function tableLines(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
}

/** What fits into so many characters, with an ellipsis where something was cut off. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`
}
