import { faultOfName } from '../locks/lock.js'
import { InvalidRequestError } from './errors.js'

/** A place in a list, opaque to callers: the last name or event that they have seen. */
export function toCursor(last: string): string {
  return Buffer.from(last, 'utf8').toString('base64url')
}

/** @throws InvalidRequestError when the text is no cursor of a list of locks. */
export function nameFromCursor(cursor: string): string {
  const name = decode(cursor)
  if (name === undefined || faultOfName(name) !== undefined) throw notACursor()
  return name
}

/** @throws InvalidRequestError when the text is no cursor of the history. */
export function eventFromCursor(cursor: string): number {
  const id = decode(cursor)
  if (id === undefined || !/^[1-9][0-9]{0,15}$/.test(id)) throw notACursor()
  return Number(id)
}

function decode(cursor: string): string | undefined {
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  return toCursor(text) === cursor ? text : undefined
}

function notACursor(): InvalidRequestError {
  return new InvalidRequestError([
    { type: 'value_error', loc: ['query', 'cursor'], msg: 'Input should be the next_cursor of an earlier page' }
  ])
}
