const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const
export type Style = keyof typeof STYLES

const DEFAULT_COLUMNS = 80
const DEFAULT_ROWS = 24

/** What is written to; only a terminal knows its size. */
export interface Output {
  readonly write: (text: string) => unknown
  readonly isTTY?: boolean
  /** Characters and lines; 0 where nobody looks. */
  readonly columns?: number
  readonly rows?: number
}

/** Standard output or standard error, and what is known of the terminal behind it, if there is one. */
export class Screen {
  readonly #stream: Output
  readonly #coloured: boolean

  /** @param env `NO_COLOR` (no-color.org) and `TERM=dumb` turn colours off. */
  constructor(stream: Output, env: Readonly<Record<string, string | undefined>>) {
    this.#stream = stream
    this.#coloured = this.isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
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

  line(text: string): void {
    this.#stream.write(`${plain(text)}\n`)
  }

  /** Writes over what {@link overwrite} wrote before. For terminals. */
  overwrite(text: string): void {
    this.#stream.write(`\r\u001B[K${plain(text)}`)
  }

  /** Writes lines over the whole screen. For terminals. */
  redraw(lines: readonly string[]): void {
    this.#stream.write(`\u001B[H${lines.map((line) => `${plain(line)}\u001B[K\n`).join('')}\u001B[J`)
  }

  styled(style: Style, text: string): string {
    const [on, off] = STYLES[style]
    return this.#coloured ? `\u001B[${on}m${text}\u001B[${off}m` : text
  }
}

/** Without what a terminal would obey, other than the screen's own styles and new lines. */
function plain(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/\u001B(?!\[\d{1,2}m)|[\u0000-\u0009\u000B-\u001A\u001C-\u001F\u007F-\u009F]/g, '\uFFFD')
}
