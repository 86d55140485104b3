import type { FastifyInstance, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { allows, type Scope, type ApiKeyCache, type KnownKey } from '../locks/api-keys.js'
import { ForbiddenError, KEY_NEEDED, UnauthorizedError } from '../locks/errors.js'
import { ScopedLocks, type LocksOf } from '../locks/scoped-locks.js'
import type { LockService } from '../locks/lock-service.js'
import { KEY_FAULTS } from './schemas/common.js'
import { accessOf, showsAllNames } from './scopes.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the caller has shown; null where none is needed. */
    apiKey: KnownKey | null
  }
}

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
    const [access = 'open', ...others] = new Set([route.method].flat().map((method) => accessOf(method, route.url)))
    if (others.length > 0) throw new Error(`${route.url} takes different scopes for different methods`)
    if (access === 'open') {
      route.schema = { ...route.schema, security: [] }
      return
    }
    document(route, access)
    if (options.keys === undefined) return
    const ofAllNames = [route.method].flat().some((method) => showsAllNames(method, route.url))
    route.onRequest = [guard({ scope: access, ofAllNames }, options.keys, options.anonymous), ...[route.onRequest ?? []].flat()]
  })
  done()
})

function guard({ scope, ofAllNames }: Needed, keys: ApiKeyCache, anonymous: boolean): onRequestHookHandler {
  return (request, _reply, done) => {
    if (!keys.keysExist && anonymous) return done()
    const secret = secretIn(request.headers.authorization)
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
export function keyIn({ headers }: Pick<FastifyRequest, 'headers'>, keys: ApiKeyCache | undefined): KnownKey | null {
  const secret = keys?.keysExist === true ? secretIn(headers.authorization) : undefined
  return (secret === undefined ? undefined : keys?.find(secret)) ?? null
}

/** RFC 6750, section 2.1. Nowhere else is a key looked for: an address is logged and remembered by too many. */
function secretIn(header: string | undefined): string | undefined {
  return /^Bearer +([\x21-\x7e]+) *$/i.exec(header ?? '')?.[1]
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
