/** @param sorted smallest first; of an empty list the answer is NaN. */
export function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}

export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** The median and the quartiles. */
function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: quantile(sorted, 0.5), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) }
}

export function median(values: readonly number[]): number {
  return spreadOf(values).median
}

/** `0.83 (0.80–0.86)` */
export function ratio(values: readonly number[]): string {
  const { median: middle, low, high } = spreadOf(values)
  return Number.isNaN(middle) ? '–' : `${middle.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
}

/** `1.23 (1.10–1.40) ms` */
export function milliseconds(values: readonly number[]): string {
  const { median: middle, low, high } = spreadOf(values)
  return Number.isNaN(middle) ? '–' : `${short(middle)} (${short(low)}–${short(high)}) ms`
}

export function perSecond(values: readonly number[]): string {
  const { median: middle } = spreadOf(values)
  return Number.isNaN(middle) ? '–' : Math.round(middle).toLocaleString('en')
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** A Markdown table whose columns line up. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(3, title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]): string => `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
