import { isIPv6 } from 'node:net'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { allows, type Scope, type ApiKeyCache, type KnownKey } from '../locks/api-keys.js'
import { ForbiddenError, KEY_NEEDED, UnauthorizedError } from '../locks/errors.js'
import type { LockService } from '../locks/lock-service.js'
import { type LocksOf, ScopedLocks } from '../locks/scoped-locks.js'
import { KEY_FAULTS } from './schemas/common.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the caller has shown; null where none is needed. */
    apiKey: KnownKey | null
  }
  interface FastifyContextConfig {
    /** What the call takes from the key of its caller. A route that does not say it cannot be registered. */
    access?: Access
    /** Whether it shows figures of all names together, which are not for a key that may see only some of them. */
    ofAllNames?: boolean
    /** Whether the route also takes a key as the password of Basic authentication, from callers that know no other. */
    keyAsPassword?: boolean
  }
}

/** `open` calls need no key. */
type Access = Scope | 'open'

export interface KeyOptions {
  /** Where left out there are no keys, now or later, and every caller may do everything. */
  readonly keys?: ApiKeyCache | undefined
  /** Whether everybody may do everything as long as nobody has made a key. */
  readonly anonymous: boolean
}

interface Needed {
  readonly scope: Scope
  readonly ofAllNames: boolean
}

/** The name of the scheme in the OpenAPI document. */
export const KEY_SCHEME = 'ApiKey'

export function locksOfCallers(locks: LockService, keys: ApiKeyCache | undefined): LocksOf {
  // Who waits or watches without a key is sent away when keys begin.
  const ofAnybody = keys === undefined ? locks : new ScopedLocks(locks, { name: null, scopes: ['admin'], prefix: '', ended: keys.began })
  return (key) => (key === null ? ofAnybody : new ScopedLocks(locks, key))
}

/**
 * Asks every call for a key with the scope that it takes, once there are keys, and says so in the document. To be registered
 * before the routes. The one hook comes before the body is read, and costs a comparison as long as there are none.
 */
export const requireKeys = fp((app: FastifyInstance, options: KeyOptions, done: () => void) => {
  app.decorateRequest('apiKey', null)
  app.addHook('onRoute', (route) => {
    const access = accessOf(route)
    if (access === 'open') {
      route.schema = { ...route.schema, security: [] }
      return
    }
    document(route, access)
    if (options.keys === undefined) return
    route.onRequest = [guard({ scope: access, ofAllNames: route.config?.ofAllNames === true }, options.keys, options.anonymous), ...[route.onRequest ?? []].flat()]
  })
  done()
})

function guard({ scope, ofAllNames }: Needed, keys: ApiKeyCache, anonymous: boolean): onRequestHookHandler {
  return (request, _reply, done) => {
    if (!keys.keysExist && anonymous) return done()
    const secret = secretIn(request)
    if (secret === undefined) return done(new UnauthorizedError(KEY_NEEDED))
    const key = keys.find(secret)
    if (key === undefined) return done(new UnauthorizedError())
    if (!allows(key, scope)) return done(new ForbiddenError(`The API key does not have the scope '${scope}'`))
    if (ofAllNames && key.prefix !== '') return done(new ForbiddenError('This call is about all resources, and the API key is confined to a prefix'))
    request.apiKey = key
    done()
  }
}

/** The key that a request shows, before any call asks for one; null where it shows none that is valid. */
export function keyIn(request: FastifyRequest, keys: ApiKeyCache | undefined): KnownKey | null {
  const secret = keys?.keysExist === true ? secretIn(request) : undefined
  return (secret === undefined ? undefined : keys?.find(secret)) ?? null
}

/**
 * RFC 6750, section 2.1; on some routes RFC 7617 too, where the user may be anything. Nowhere else is a key looked for: an
 * address is logged and remembered by too many.
 */
function secretIn({ headers: { authorization = '' }, routeOptions: { config } }: FastifyRequest): string | undefined {
  const bearer = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1]
  if (bearer !== undefined || config.keyAsPassword !== true) return bearer
  const basic = /^Basic +([A-Za-z0-9+/=]+) *$/i.exec(authorization)?.[1] ?? ''
  return /^[^:]*:([\x21-\x7e]+)$/.exec(Buffer.from(basic, 'base64').toString('utf8'))?.[1]
}

function document(route: RouteOptions, scope: Scope): void {
  const { schema } = route
  if (schema === undefined || schema.hide === true) return
  const documented = {
    ...schema,
    description: [schema.description, `Takes the scope \`${scope}\`.`].join(' ').trim(),
    // A bearer key has no scopes in OpenAPI's sense.
    security: [{ [KEY_SCHEME]: [] }],
    'x-required-scope': scope,
    response: { ...KEY_FAULTS, ...(schema.response as object | undefined) }
  }
  route.schema = documented
}

/** Of the routes of plugins, which cannot say it: preflights, which bear no key, and the page that shows the OpenAPI document. */
const OPEN_OF_PLUGINS = /^(?:OPTIONS \*$|(?:GET|HEAD) \/docs(?:\/|$))/

/** @throws Error for a route that does not say it. */
function accessOf({ method, url, config }: RouteOptions): Access {
  const calls = [method].flat().map((one) => `${one} ${url}`)
  const access = config?.access ?? (calls.every((call) => OPEN_OF_PLUGINS.test(call)) ? 'open' : undefined)
  if (access === undefined) throw new Error(`${calls.join(', ')} says nowhere which scope it takes; its route needs config.access`)
  return access
}

/**
 * The caller as limits count it: the key, or where none is needed the address that a request
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
