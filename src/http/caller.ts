import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'

/**
 * Whoever the service can tell from other callers, for limits: the key, or where none is needed the address that a request
 * came from, of which IPv6 gives everybody 2^64, so that its first 64 bits stand for all of them. Behind a proxy it is the
 * proxy's unless TRUST_PROXY is set.
 */
export function callerOf({ apiKey, ip }: Pick<FastifyRequest, 'apiKey' | 'ip'>): string {
  return apiKey === null ? normalizeIP(ip) : `key ${apiKey.name}`
}
