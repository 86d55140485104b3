import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from './eventually.js'
import { shellWord } from './shell.js'

/** No worker outlives a test by more than this. */
const LIFE_MS = 600_000

const PROGRAM = `
  const { appendFileSync } = require('node:fs')
  const beat = (what) => appendFileSync(process.argv[1], Date.now() + ' ' + what + '\\n')
  process.on('SIGTERM', () => beat('TERM'))
  setInterval(() => beat('work'), 20)
  setTimeout(() => process.exit(), ${LIFE_MS})`

/** A process that writes down when it works, and goes on when it is asked to end. */
export class Worker {
  readonly #file: string

  constructor(folder: string, name: string) {
    this.#file = join(folder, name)
  }

  /** The command line that runs it, for a shell. */
  get shellCommand(): string {
    return [process.execPath, '-e', PROGRAM, this.#file].map(shellWord).join(' ')
  }

  /** When it worked, by the wall clock, and when it was asked to end. */
  get beats(): readonly { readonly at: number; readonly what: string }[] {
    if (!existsSync(this.#file)) return []
    const text = readFileSync(this.#file, 'utf8')
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => ({ at: Number(line.split(' ')[0]), what: line.split(' ')[1] ?? '' }))
  }

  get lastAt(): number {
    return this.beats.at(-1)?.at ?? 0
  }

  async untilAtWork(): Promise<void> {
    const before = this.beats.length
    await eventually('the worker works', () => Promise.resolve(this.beats.length > before || undefined))
  }
}
