import { parseArgs, type ParseArgsConfig } from 'node:util'
import { UsageError } from './errors.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Read<Known extends Options> = ReturnType<typeof parseArgs<{ args: string[]; options: Known; allowPositionals: true }>>

const MS_OF: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * Reads options and names.
 *
 * @param names how many are taken, at least and at most.
 * @throws UsageError with the sentence that says what cannot be understood.
 */
export function readArguments<Known extends Options>(args: readonly string[], options: Known, names: readonly [least: number, most: number]): Read<Known> {
  let read: Read<Known>
  try {
    read = parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // What follows the first sentence is advice on how to escape a dash.
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error))
  }
  const given = read.positionals.length
  const [least, most] = names
  if (given < least) throw new UsageError(least === 1 ? 'A name is missing' : `${least - given} names are missing`)
  if (given > most) throw new UsageError(`'${read.positionals[most]}' is one name too many`)
  return read
}

/**
 * Reads `500ms`, `30s`, `2m`, `1h`, or a plain number of seconds.
 *
 * @returns milliseconds, possibly 0.
 * @throws UsageError for anything else.
 */
export function durationMs(option: string, text: string): number {
  const [, number, unit = 's'] = /^(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)?$/.exec(text) ?? []
  if (number === undefined) throw new UsageError(`${option} is '${text}'; expected a time such as 500ms, 30s, 2m or 1h`)
  return Number(number) * (MS_OF[unit] ?? Number.NaN)
}

/** @throws UsageError when it is no whole number in that range. */
export function wholeNumber(option: string, text: string, least: number, most: number): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= least && number <= most)) throw new UsageError(`${option} is '${text}'; expected a whole number from ${least} to ${most}`)
  return number
}

export function lockIdOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : wholeNumber('--lock-id', text, 1, Number.MAX_SAFE_INTEGER)
}

/** @throws UsageError when it was left out. */
export function required(option: string, text: string | undefined): string {
  if (text === undefined) throw new UsageError(`${option} is missing`)
  return text
}
