import { isIP } from 'node:net'

/** A page that asks for this is answered with a path that no route can have; see {@link knownHosts}. */
export const UNKNOWN_HOST_PATH = '/%'

const MOST_REMEMBERED = 100

/**
 * Tells the hosts by which this service may be asked, so that a page in a browser cannot reach it under a name of its own
 * that leads to this machine (DNS rebinding). An address and `localhost` are always known: nobody else can own those. A
 * request without a host comes from no browser.
 *
 * @param names further names that are known; upper and lower case are the same.
 * @returns what decides about the text of a Host header; it costs a look into a set.
 */
export function knownHosts(names: readonly string[]): (header: string | undefined) => boolean {
  const known = new Set(names.map((name) => name.toLowerCase()))
  const remembered = new Set<string | undefined>([undefined])
  return (header) => {
    if (remembered.has(header)) return true
    if (header === undefined || !isKnown(header, known)) return false
    if (remembered.size < MOST_REMEMBERED) remembered.add(header)
    return true
  }
}

function isKnown(header: string, known: ReadonlySet<string>): boolean {
  const [, bracketed, plain] = /^(?:\[(.*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? []
  if (bracketed !== undefined) return isIP(bracketed) === 6
  const name = plain?.toLowerCase().replace(/\.$/, '') ?? ''
  return isIP(name) === 4 || name === 'localhost' || name.endsWith('.localhost') || known.has(name)
}
