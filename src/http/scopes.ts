import type { Scope } from '../locks/api-keys.js'

/** What a call takes from the key of its caller; `open` calls need no key. */
export type Access = Scope | 'open'

/** Every call there is. One that is not listed here cannot be registered. */
const ACCESS: Readonly<Record<string, Access>> = {
  'POST /locks/request': 'write',
  'DELETE /locks/release': 'write',
  'POST /locks/renew': 'write',
  'POST /locks/renew-all': 'write',
  'POST /locks/request-many': 'write',
  'POST /locks/release-many': 'write',
  'POST /locks/renew-many': 'write',
  'DELETE /locks/release-all': 'write',

  'GET /locks/status': 'read',
  'GET /locks/all-locked': 'read',
  'GET /locks/queue': 'read',
  'GET /locks/history': 'read',
  'GET /locks/watch': 'read',
  'GET /locks/stats': 'read',
  'GET /metrics': 'read',

  'POST /locks/force-release': 'admin',
  'POST /locks/force-release-all': 'admin',

  // The other systems' APIs.
  'POST /lock/user/:id': 'write',
  'POST /unlock/user/:id': 'write',
  'GET /lock/user/:id': 'read',
  'POST /lock/contract/:id': 'write',
  'POST /unlock/contract/:id': 'write',
  'GET /lock/contract/:id': 'read',
  'POST /lock/company/:id': 'write',
  'POST /unlock/company/:id': 'write',
  'GET /lock/company/:id': 'read',
  'POST /api/lock/acquire': 'write',
  'POST /api/lock/release': 'write',
  'POST /api/lock/extend': 'write',
  'GET /api/lock/status/:docId': 'read',
  'GET /api/lock/all': 'admin',
  'POST /api/lock/force-release': 'admin',
  'POST /api/lock/clear-all': 'admin',
  'POST /api/book': 'write',

  'GET /': 'open',
  'GET /health': 'open',
  'GET /livez': 'open',
  'GET /readyz': 'open',
  'GET /openapi.json': 'open'
}

/** Figures of all names together, which are not for a key that may see only some of them. */
const OF_ALL_NAMES = new Set(['GET /metrics'])

export function showsAllNames(method: string, url: string): boolean {
  return OF_ALL_NAMES.has(`${method === 'HEAD' ? 'GET' : method} ${url}`)
}

/** Pages that show nothing by themselves, with the files that they are made of. */
const PAGES = /^\/(?:docs|redoc|dashboard)(?:\/|$)/

/** @throws Error for a call that nobody has decided about. */
export function accessOf(method: string, url: string): Access {
  // A HEAD answers with the headers of the GET; a browser asks for permission (OPTIONS) without any key.
  const verb = method === 'HEAD' ? 'GET' : method
  if (verb === 'OPTIONS' || (verb === 'GET' && PAGES.test(url))) return 'open'
  const access = ACCESS[`${verb} ${url}`]
  if (access === undefined) throw new Error(`${method} ${url} says in no place which scope it takes; see http/scopes.ts`)
  return access
}
