import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { FastifyInstance, FastifyReply } from 'fastify'

interface Asset {
  readonly name: string
  readonly type: string
  /** Bytes, which all replies share; of a text each reply that nobody reads would hold a copy. */
  readonly content: Buffer
}

/**
 * Nothing but this service's own files, and no text is ever parsed as HTML or script. Without `upgrade-insecure-requests`,
 * which would leave the page blank over plain http.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join('; ')

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#0f766e"/>
<path d="M11 15v-3.5a5 5 0 0 1 10 0V15" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round"/>
<rect x="8.5" y="14.5" width="15" height="11" rx="2.5" fill="#fff"/>
</svg>
`

/** For the reader of the API document, which writes its own styles into the page. */
const READER_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/**
 * The dashboard and the reference of the API, each one page over what the service serves in public. Both are static and hold
 * no secret, so they need no key themselves; what the dashboard shows, it requests with the key of the person who looks at it.
 */
export async function pages(app: FastifyInstance): Promise<void> {
  const files = await readAssets()
  if (files === undefined) {
    app.log.error('The dashboard and the reference are not built and therefore not served: run npm run build')
    return
  }
  // The folder's name changes with any of its files, so that browsers may keep them.
  const folder = digestOf(files)
  const hide = { config: { access: 'open' }, schema: { hide: true } } as const

  // A person who types in the address of the service wants to see something; for a program there is nothing at the root.
  app.get('/', hide, ({ headers: { accept = '' } }, reply) =>
    accept.includes('text/html') ? reply.header('vary', 'accept').redirect('dashboard') : reply.callNotFound()
  )
  const html = { dashboard: Buffer.from(dashboardPage(folder)), redoc: Buffer.from(referencePage(folder)) }
  for (const [name, policy] of [['dashboard', CONTENT_SECURITY_POLICY], ['redoc', READER_POLICY]] as const) {
    app.get(`/${name}`, hide, (_request, reply) =>
      send(reply.header('cache-control', 'no-cache'), 'text/html; charset=utf-8', html[name], policy)
    )
    // Relative: behind a proxy the service may stand below some path.
    app.get(`/${name}/`, hide, (_request, reply) => reply.redirect(`../${name}`))
  }
  for (const { name, type, content } of files) {
    app.get(`/dashboard/${folder}/${name}`, hide, (_request, reply) =>
      send(reply.header('cache-control', 'public, max-age=31536000, immutable'), type, content)
    )
  }
}

function dashboardPage(folder: string): string {
  const at = `./dashboard/${folder}`
  const head = `<link rel="stylesheet" href="${at}/style.css">\n<script type="module" src="${at}/main.js"></script>`
  const body = '<div id="app"><noscript>The dashboard needs JavaScript. Everything it shows can also be read with the API, see /docs.</noscript></div>'
  return page('Locks', at, head, body)
}

/** One operation at a time, with a list of all to search: the whole document at once would keep a tab busy for seconds. */
function referencePage(folder: string): string {
  const at = `./dashboard/${folder}`
  const options = {
    'spec-url': './openapi.json',
    'show-header': 'false',
    'load-fonts': 'false',
    'allow-try': 'false',
    'allow-authentication': 'false',
    'allow-server-selection': 'false',
    'show-method-in-nav-bar': 'as-colored-text',
    'schema-style': 'table',
    'default-schema-tab': 'schema',
    'schema-description-expanded': 'true',
    'regular-font': 'system-ui, sans-serif'
  }
  const attributes = Object.entries(options).map(([name, value]) => `${name}="${value}"`)
  const body = `<rapi-doc ${attributes.join(' ')}></rapi-doc>\n<noscript>The reference needs JavaScript. The document behind it is /openapi.json.</noscript>`
  return page('Resource Lock Manager – reference', at, `<style>body { margin: 0 }</style>\n<script type="module" src="${at}/reference.js"></script>`, body)
}

/** Its addresses are relative, so that it also works where a proxy serves the service below some path. */
function page(title: string, at: string, head: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="${at}/icon.svg" type="image/svg+xml">
${head}
</head>
<body>
${body}
</body>
</html>
`
}

/** Resolves to undefined where `npm run bundle` has not run, as after `tsc` alone. */
async function readAssets(): Promise<readonly Asset[] | undefined> {
  try {
    return [
      { name: 'main.js', type: 'text/javascript; charset=utf-8', content: await read('main.js') },
      { name: 'reference.js', type: 'text/javascript; charset=utf-8', content: await read('reference.js') },
      { name: 'style.css', type: 'text/css; charset=utf-8', content: await read('style.css') },
      { name: 'icon.svg', type: 'image/svg+xml', content: Buffer.from(ICON) }
    ]
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function digestOf(files: readonly Asset[]): string {
  const hash = createHash('sha256')
  for (const { name, content } of files) hash.update(name).update(content)
  return hash.digest('hex').slice(0, 16)
}

function send(reply: FastifyReply, type: string, content: Buffer, policy = CONTENT_SECURITY_POLICY): FastifyReply {
  return reply
    .header('content-security-policy', policy)
    .header('referrer-policy', 'no-referrer')
    .type(type)
    .send(content)
}

function read(name: string): Promise<Buffer> {
  return readFile(new URL(`bundle/${name}`, import.meta.url))
}
