import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'

/**
 * Whoever the service can tell from other callers, for limits: the address that a request came from, of which IPv6 gives
 * everybody 2^64, so that its first 64 bits stand for all of them. Behind a proxy it is the proxy's unless TRUST_PROXY is set.
 */
export function callerOf({ ip }: Pick<FastifyRequest, 'ip'>): string {
  return normalizeIP(ip)
}
