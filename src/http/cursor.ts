import { faultOfName } from '../locks/lock.js'

/** A place in a list, opaque to callers: the last name they have seen. */
export function toCursor(lastName: string): string {
  return Buffer.from(lastName, 'utf8').toString('base64url')
}

/** Undefined when the text is no cursor of ours. */
export function fromCursor(cursor: string): string | undefined {
  const name = Buffer.from(cursor, 'base64url').toString('utf8')
  return toCursor(name) === cursor && faultOfName(name) === undefined ? name : undefined
}
