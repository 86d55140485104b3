import { isIPv6 } from 'node:net'
import type { FastifyRequest } from 'fastify'

/**
 * Whoever the service can tell from other callers, for limits: the key, or where none is needed the address that a request
 * came from, of which IPv6 gives everybody 2^64, so that its first 64 bits stand for all of them. Behind a proxy it is the
 * proxy's unless TRUST_PROXY is set.
 */
export function callerOf({ apiKey, ip }: Pick<FastifyRequest, 'apiKey' | 'ip'>): string {
  return apiKey === null ? networkOf(ip) : `key ${apiKey.name}`
}

/** An address of IPv4 as it is, and the network of 64 bits around one of IPv6. */
export function networkOf(ip: string): string {
  if (!isIPv6(ip)) return ip
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(ip)?.[1]
  if (mapped !== undefined) return mapped
  // The parser of URLs writes every address in one form; a zone (`%eth0`) belongs to this machine, not to the caller.
  const [head = '', tail] = new URL(`http://[${ip.replace(/%.*/, '')}]`).hostname.slice(1, -1).split('::')
  const zeros = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...Array<string>(zeros).fill('0'), ...groups(tail)]
  return `${all.slice(0, 4).join(':')}::/64`
}

function groups(text = ''): string[] {
  return text.split(':').filter((group) => group !== '')
}
