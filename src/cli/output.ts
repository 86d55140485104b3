import type { Grant, Waiter } from '../client/index.js'

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const
export type Style = keyof typeof STYLES

const DEFAULT_COLUMNS = 80
const DEFAULT_ROWS = 24
/** A name is not cut to less. */
const NARROWEST_NAME = 8

/** What is written to; only a terminal knows its size. */
export interface Output {
  readonly write: (text: string) => unknown
  readonly on?: (event: 'error', listener: (error: NodeJS.ErrnoException) => void) => unknown
  readonly isTTY?: boolean
  /** Characters and lines; 0 where nobody looks. */
  readonly columns?: number
  readonly rows?: number
}

/** Standard output or standard error, and what is known of the terminal behind it, if there is one. Writing never throws. */
export class Screen {
  readonly #stream: Output
  readonly #coloured: boolean
  readonly #closing = new AbortController()

  /** @param env `NO_COLOR` (no-color.org) and `TERM=dumb` turn colours off. */
  constructor(stream: Output, env: Readonly<Record<string, string | undefined>>) {
    this.#stream = stream
    this.#coloured = this.isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
    // Without a listener the process would end here, and leave the command that it runs without a lock.
    stream.on?.('error', (error) => this.#closing.abort(error))
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true
  }

  get columns(): number {
    return this.#stream.columns || DEFAULT_COLUMNS
  }

  get rows(): number {
    return this.#stream.rows || DEFAULT_ROWS
  }

  /** Fires when nothing more can be written: the reader has gone, the terminal was closed, the disk is full. */
  get closed(): AbortSignal {
    return this.#closing.signal
  }

  /** Why output was lost that somebody may still want; undefined also when nobody reads any more. */
  get fault(): string | undefined {
    const code = (this.closed.reason as NodeJS.ErrnoException | undefined)?.code
    return code === 'EPIPE' || code === 'EIO' ? undefined : code
  }

  line(text: string): void {
    this.#write(`${plain(text)}\n`)
  }

  /** Writes over what {@link overwrite} wrote before. For terminals. */
  overwrite(text: string): void {
    this.#write(`\r\u001B[K${plain(text)}`)
  }

  /** Writes lines over the whole screen. For terminals. */
  redraw(lines: readonly string[]): void {
    this.#write(`\u001B[H${lines.map((line) => `${plain(line)}\u001B[K\n`).join('')}\u001B[J`)
  }

  styled(style: Style, text: string): string {
    const [on, off] = STYLES[style]
    return this.#coloured ? `\u001B[${on}m${text}\u001B[${off}m` : text
  }

  #write(text: string): void {
    if (!this.closed.aborted) this.#stream.write(text)
  }
}

const BIDI = String.raw`\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069`
/** What a terminal would obey, other than new lines and the screen's own styles, and what makes a name look like another one. */
const OBEYED = new RegExp(String.raw`\u001B(?!\[\d{1,2}m)|[\u0000-\u0009\u000B-\u001A\u001C-\u001F\u007F-\u009F\u2028\u2029${BIDI}]`, 'g')
/** In a cell, new lines and styles are none of the screen's own. */
const OBEYED_IN_CELL = new RegExp(String.raw`[\u0000-\u001F\u007F-\u009F\u2028\u2029${BIDI}]`, 'g')

function plain(text: string): string {
  return text.replaceAll(OBEYED, '\uFFFD')
}

const GRAPHEMES = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const ASCII = /^[\u0020-\u007E]*$/
/** Combining and formatting characters that stand alone. */
const EMPTY = /^[\p{Mn}\p{Me}\p{Cf}]+$/u
/** Wide and fullwidth characters of Unicode's annex 11, and emoji. */
const WIDE =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115F\u2329\u232A\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE10-\uFE19\uFE30-\uFE6B\uFF01-\uFF60\uFFE0-\uFFE6\u{16FE0}-\u{18DFF}\u{1AFF0}-\u{1B2FF}\u{1F200}-\u{1F265}\u{20000}-\u{3FFFD}])|\uFE0F/u

interface Grapheme {
  readonly text: string
  readonly width: number
}

function graphemesOf(text: string): Grapheme[] {
  return Array.from(GRAPHEMES.segment(text), ({ segment }) => ({ text: segment, width: EMPTY.test(segment) ? 0 : WIDE.test(segment) ? 2 : 1 }))
}

/** How many columns of a terminal a text takes. */
export function widthOf(text: string): number {
  return ASCII.test(text) ? text.length : graphemesOf(text).reduce((sum, { width }) => sum + width, 0)
}

/** What fits into so many columns, with an ellipsis where something was cut off at the end. */
export function cut(text: string, columns: number): string {
  return widthOf(text) <= columns ? text : `${head(graphemesOf(text), columns - 1)}…`
}

/** What fits into so many columns, with an ellipsis in the middle: names often differ at their ends. */
export function cutMiddle(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text
  const graphemes = graphemesOf(text)
  const room = Math.max(0, columns - 1)
  const tail = head(graphemes.toReversed(), Math.floor(room / 2), true)
  return `${head(graphemes, room - Math.floor(room / 2))}…${tail}`
}

/** The first that fit; reversed graphemes are put back in order. */
function head(graphemes: readonly Grapheme[], columns: number, reversed = false): string {
  const fitting: string[] = []
  for (let [index, left] = [0, columns]; index < graphemes.length; index += 1) {
    const { text, width } = graphemes[index] ?? { text: '', width: 0 }
    left -= width
    if (left < 0) break
    fitting.push(text)
  }
  return (reversed ? fitting.toReversed() : fitting).join('')
}

interface TableOptions {
  /** How wide a line may be; as wide as it takes if left out. */
  readonly columns?: number
  /** The columns that hold names, which are cut where a line would be too long. */
  readonly names?: readonly number[]
}

/** Lines of cells, as wide as what is in them, with two spaces between. The last column is not padded. */
export function tableLines(rows: readonly (readonly string[])[], { columns = Infinity, names = [] }: TableOptions = {}): string[] {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll(OBEYED_IN_CELL, '\uFFFD')))
  const widths = cells[0]?.map((_, column) => cells.reduce((widest, row) => Math.max(widest, widthOf(row[column] ?? '')), 0)) ?? []
  for (;;) {
    const excess = widths.reduce((sum, width) => sum + width + 2, -2) - columns
    const [widest, next] = names.toSorted((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0))
    const width = widest === undefined ? 0 : (widths[widest] ?? 0)
    if (excess <= 0 || widest === undefined || width <= NARROWEST_NAME) break
    const target = Math.max(NARROWEST_NAME, Math.min(width - 1, next === undefined ? 0 : (widths[next] ?? 0)))
    widths[widest] = Math.max(width - excess, target)
  }
  return cells.map((row) => {
    const fitted = row.map((cell, column) => (names.includes(column) ? cutMiddle(cell, widths[column] ?? 0) : cell))
    const line = fitted.map((cell, column) => (column === row.length - 1 ? cell : pad(cell, widths[column] ?? 0))).join('  ')
    return cut(line, columns)
  })
}

function pad(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - widthOf(text)))
}

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

/** What the client read, as the HTTP API spells it: snake_case, and times with an explicit offset. */
export function wireJson(value: unknown): string {
  // The text stays what it says where a terminal shows it.
  return JSON.stringify(onWire(value)).replaceAll(OBEYED, (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}

function onWire(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString().replace('Z', '+00:00')
  if (Array.isArray(value)) return value.map(onWire)
  if (typeof value !== 'object' || value === null) return value
  // What a holder put into its metadata is its own.
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [snakeCase(name), name === 'metadata' ? field : onWire(field)]))
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** What a lock takes of its resource: all of it, a share beside any others, or so many permits of a limited number, with their slots. */
export function shareText({ mode, limit = null, permits, slots = [] }: Pick<Grant, 'limit' | 'permits' | 'slots'> & Pick<Waiter, 'mode'>): string {
  if (mode !== 'shared') return 'all'
  const numbers = slots.length === 0 ? '' : ` (slot${slots.length === 1 ? '' : 's'} ${slots.join(', ')})`
  return limit === null ? 'shared' : `${permits} of ${limit}${numbers}`
}
