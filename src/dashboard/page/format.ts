const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000]
] as const

/** `4 s`, `12 min 30 s`, `3 h 05 min`, `2 d 4 h`: the two largest units that are not zero. */
export function duration(ms: number): string {
  const whole = Math.max(0, Math.floor(ms / 1000) * 1000)
  const first = UNITS.findIndex(([, size]) => whole >= size)
  const [unit, size] = UNITS[first] ?? ['s', 1000]
  const next = UNITS[first + 1]
  const count = Math.floor(whole / size)
  if (first < 0 || next === undefined) return `${count} ${unit}`
  const rest = Math.floor((whole % size) / next[1])
  return rest === 0 ? `${count} ${unit}` : `${count} ${unit} ${rest} ${next[0]}`
}

/** As {@link duration}, for a remaining time: rounded up, so that 0 s means none. */
export function remaining(ms: number): string {
  return duration(Math.ceil(ms / 1000) * 1000)
}

/** As {@link duration}, with tenths below ten seconds. */
export function shortDuration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds * 1000)
}

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const TENTHS = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })

/** `12,345` */
export function count(value: number): string {
  return WHOLE.format(value)
}

/** `0.4`, `12.3`, `1,204`: tenths where they matter. */
export function rate(perSecond: number): string {
  return perSecond === 0 || perSecond >= 100 ? WHOLE.format(perSecond) : TENTHS.format(perSecond)
}

/** `1 waiter`, `2 waiters` */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

/** `1–4, 7` of ascending numbers. */
export function ranges(numbers: readonly number[]): string {
  const found: [first: number, last: number][] = []
  for (const number of numbers) {
    const range = found.at(-1)
    if (range?.[1] === number - 1) range[1] = number
    else found.push([number, number])
  }
  return found.map(([first, last]) => (first === last ? count(first) : `${count(first)}–${count(last)}`)).join(', ')
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' } as const
const DAY = { day: 'numeric', month: 'short' } as const
const FORMATS = [CLOCK, { ...CLOCK, ...DAY }, { ...CLOCK, second: undefined }, { ...CLOCK, ...DAY, second: undefined }].map(
  (options) => new Intl.DateTimeFormat('en-GB', options)
)

/** In the reader's time zone; with the day where it is another than today's, to the minute where that is enough. */
export function clockTime(at: number, now: number, toMinute = false): string {
  const isToday = new Date(at).toDateString() === new Date(now).toDateString()
  return FORMATS[(isToday ? 0 : 1) + (toMinute ? 2 : 0)]?.format(at) ?? ''
}

const ZONE = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' })

/** The reader's time zone at that time: `CET`, `GMT-3`, `UTC`. */
export function zoneOf(at: number): string {
  return ZONE.formatToParts(at).find(({ type }) => type === 'timeZoneName')?.value ?? ''
}

/** `2024-01-15 10:30:00.123 UTC` */
export function utcTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').replace('Z', ' UTC')
}
