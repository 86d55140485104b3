import { parseArgs } from 'node:util'
import { faultOfKeyName, SCOPES, type Scope } from '../locks/api-key.js'
import { StartupError } from '../locks/errors.js'
import { faultOfName } from '../locks/lock.js'

/** What `keys` is asked to do. */
export type KeysTask =
  | { readonly kind: 'help' }
  | { readonly kind: 'list' }
  /** `key` is a name or an id. */
  | { readonly kind: 'revoke'; readonly key: string }
  | {
      readonly kind: 'create'
      readonly name: string
      readonly scopes: readonly Scope[]
      /** Empty for all resources. */
      readonly prefix: string
      /** Null has no end. */
      readonly validForMs: number | null
    }

export const USAGE = `Usage:
  keys create NAME [--scopes read,write] [--prefix PREFIX] [--expires 90d]
  keys list
  keys revoke NAME|ID

  --scopes   of read, write and admin, joined by commas; read,write if left out. admin includes the other two.
  --prefix   only resources whose names begin with it
  --expires  after so many minutes (30m), hours (12h) or days (90d); never if left out
`

const MS_OF = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const LONGEST_DAYS = 36_500

/** @throws StartupError with the sentence that says what cannot be understood. */
export function readArguments(args: readonly string[]): KeysTask {
  const { values, positionals } = parse(args)
  const [verb = 'help', ...rest] = positionals
  if (values.help === true || verb === 'help') return { kind: 'help' }
  if (verb !== 'create' && Object.keys(values).length > 0) throw refusal(`${verb} takes no options`)
  switch (verb) {
    case 'list':
      if (rest.length > 0) throw refusal('list takes no name')
      return { kind: 'list' }
    case 'revoke':
      return { kind: 'revoke', key: theOneIn(rest, 'revoke takes one name or id') }
    case 'create':
      return {
        kind: 'create',
        name: nameIn(theOneIn(rest, 'create takes one name')),
        scopes: scopesIn(values.scopes),
        prefix: prefixIn(values.prefix),
        validForMs: lifeIn(values.expires)
      }
    default:
      throw refusal(`There is no '${verb}'`)
  }
}

function theOneIn([first, ...more]: readonly string[], otherwise: string): string {
  if (first === undefined || more.length > 0) throw refusal(otherwise)
  return first
}

function parse(args: readonly string[]) {
  try {
    const options = { scopes: { type: 'string' }, prefix: { type: 'string' }, expires: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    throw refusal(error instanceof Error ? (/^[^\n.]*/.exec(error.message)?.[0] ?? '') : String(error))
  }
}

function nameIn(text: string): string {
  const fault = faultOfKeyName(text)
  if (fault !== undefined) throw refusal(`The name of a key ${fault}`)
  return text
}

function scopesIn(text = 'read,write'): readonly Scope[] {
  const words = text.split(',').map((word) => word.trim())
  const unknown = words.find((word) => !SCOPES.some((scope) => scope === word))
  if (unknown !== undefined) throw refusal(`--scopes knows read, write and admin, not '${unknown}'`)
  return SCOPES.filter((scope) => words.includes(scope))
}

function prefixIn(text: string | undefined): string {
  if (text === undefined) return ''
  const fault = faultOfName(text)
  if (fault !== undefined) throw refusal(`--prefix ${fault}`)
  return text
}

function lifeIn(text: string | undefined): number | null {
  if (text === undefined) return null
  const [, digits, unit] = /^([1-9][0-9]{0,7})([mhd])$/.exec(text) ?? []
  const ms = Number(digits) * MS_OF[(unit ?? 'd') as keyof typeof MS_OF]
  if (digits === undefined || ms > LONGEST_DAYS * MS_OF.d) {
    throw refusal(`--expires is '${text}'; expected minutes (30m), hours (12h) or days (90d), at most ${LONGEST_DAYS} days`)
  }
  return ms
}

function refusal(sentence: string): StartupError {
  return new StartupError(`${sentence}; see 'keys help'.`)
}
