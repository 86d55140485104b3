import { StartupError } from '../locks/errors.js'

/** Where the locks are kept, read from a `DATABASE_URL`. */
export type DatabaseLocation =
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'postgres'; readonly url: string }

const POSTGRES = /^postgres(?:ql)?:\/\//
export const ENCODE = 'percent-encode the password (@ is %40, / is %2F, ? is %3F, # is %23, % is %25)'
const EXPECTED = 'expected sqlite:///./FILE.db, sqlite:FILE.db, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE'

/**
 * Reads a database URL. SQLite is written as SQLAlchemy does, `sqlite:///./x.db` (relative) and `sqlite:////var/x.db`
 * (absolute), or short, `sqlite:x.db`; `sqlite::memory:` and `sqlite://` live in memory and end with the process.
 *
 * @throws StartupError when it is neither; the sentence does not repeat a URL that may hold a password.
 */
export function parseDatabaseUrl(url: string): DatabaseLocation {
  if (POSTGRES.test(url)) {
    if (!isPostgresUrl(url)) throw new StartupError(`DATABASE_URL is not a well-formed PostgreSQL URL; ${ENCODE}; ${EXPECTED}.`)
    return { kind: 'postgres', url }
  }
  const sqlite = /^sqlite:(?:\/\/\/?)?(?<file>.*)$/s.exec(url)
  if (sqlite === null) {
    const scheme = /^[a-z0-9+.-]+(?=:)/i.exec(url)?.[0]
    const found = scheme === undefined ? 'has no scheme' : `has the scheme '${scheme}'`
    throw new StartupError(`DATABASE_URL ${found}; ${EXPECTED}.`)
  }
  const text = sqlite.groups?.['file'] ?? ''
  // The driver leaves out spaces around a name: it must not have another name here.
  const file = decodeFile(text).trim()
  if (file === '' || file === ':memory:') return { kind: 'sqlite', file: ':memory:' }
  if (file.includes('\0') || /[?#]/.test(text)) throw new StartupError(`DATABASE_URL names no usable SQLite file; ${EXPECTED}.`)
  return { kind: 'sqlite', file }
}

/**
 * Whether each part of the URL can be read as it was meant. A character of the password that ends the host's part too early
 * leaves an `@` or a `#` behind; what stands before it would then be taken for the host and shown.
 */
export function isPostgresUrl(url: string): boolean {
  if (/^[^/]*\/\/[^/?#]*[/?#].*@|#/s.test(url)) return false
  try {
    // No host stands before the socket folder that the query names.
    const { username, password, pathname } = new URL(url.replace('@/', '@localhost/'))
    for (const part of [username, password, pathname]) decodeURIComponent(part)
    return POSTGRES.test(url)
  } catch {
    return false
  }
}

function decodeFile(file: string): string {
  try {
    return decodeURIComponent(file)
  } catch {
    return file
  }
}
