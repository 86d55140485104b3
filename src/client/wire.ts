import type { Conflict, Grant } from './types.js'

/** A JSON object as the service writes it, in snake_case. */
export type Json = Readonly<Record<string, unknown>>

/**
 * What the service wrote, in camelCase, with its times as dates. Its answers are taken at their word: its contract says what
 * each field is, and extensions only add.
 */
// oxlint-disable-next-line no-unnecessary-type-parameters -- it saves each caller a cast
export function fromWire<Type>(value: unknown): Type {
  if (Array.isArray(value)) return value.map(fromWire) as Type
  if (typeof value !== 'object' || value === null) return value as Type
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name.replaceAll(/_(.)/g, (_match, letter: string) => letter.toUpperCase()),
      // What a holder put into its metadata is its own.
      name === 'metadata' ? field : /(?:^|_)(?:at|since|until|as_of)$/.test(name) && typeof field === 'string' ? new Date(field) : fromWire(field)
    ])
  ) as Type
}

/** What the client says, in snake_case. */
export function toWire<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(toWire) as Value
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      name === 'metadata' ? (field as unknown) : toWire(field as unknown)
    ])
  ) as Value
}

export function grantOf(json: Json): Grant {
  return { metadata: null, ...fromWire<Omit<Grant, 'metadata'>>(json) }
}

export function conflictOf(json: Json): Conflict {
  const { detail: _detail, code: _code, ...conflict } = json
  return { queuePosition: null, ...fromWire<Omit<Conflict, 'queuePosition'>>(conflict) }
}
