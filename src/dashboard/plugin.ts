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

/**
 * The dashboard: one page over the public API. It is static and holds no secret, so it needs no key itself; what it shows,
 * it requests with the key of the person who looks at it.
 */
export async function dashboard(app: FastifyInstance): Promise<void> {
  const files = await readAssets()
  if (files === undefined) {
    app.log.error('The dashboard is not built and therefore not served: run npm run build')
    return
  }
  // The folder's name changes with any of its files, so that browsers may keep them.
  const folder = digestOf(files)
  const hide = { schema: { hide: true } }

  // A person who types in the address of the service wants to see something; for a program there is nothing at the root.
  app.get('/', hide, ({ headers: { accept = '' } }, reply) =>
    accept.includes('text/html') ? reply.header('vary', 'accept').redirect('dashboard') : reply.callNotFound()
  )
  const html = Buffer.from(pageOf(folder))
  app.get('/dashboard', hide, (_request, reply) => send(reply.header('cache-control', 'no-cache'), 'text/html; charset=utf-8', html))
  // Relative: behind a proxy the service may stand below some path.
  app.get('/dashboard/', hide, (_request, reply) => reply.redirect('../dashboard'))
  for (const { name, type, content } of files) {
    app.get(`/dashboard/${folder}/${name}`, hide, (_request, reply) =>
      send(reply.header('cache-control', 'public, max-age=31536000, immutable'), type, content)
    )
  }
}

/** The page itself. Its addresses are relative, so that it also works where a proxy serves the service below some path. */
function pageOf(folder: string): string {
  const at = `./dashboard/${folder}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Locks</title>
<link rel="icon" href="${at}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${at}/style.css">
<script type="module" src="${at}/main.js"></script>
</head>
<body>
<div id="app"><noscript>The dashboard needs JavaScript. Everything it shows can also be read with the API, see /docs.</noscript></div>
</body>
</html>
`
}

/** Resolves to undefined where `npm run bundle` has not run, as after `tsc` alone. */
async function readAssets(): Promise<readonly Asset[] | undefined> {
  try {
    return [
      { name: 'main.js', type: 'text/javascript; charset=utf-8', content: await read('main.js') },
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

function send(reply: FastifyReply, type: string, content: Buffer): FastifyReply {
  return reply
    .header('content-security-policy', CONTENT_SECURITY_POLICY)
    .header('referrer-policy', 'no-referrer')
    .type(type)
    .send(content)
}

function read(name: string): Promise<Buffer> {
  return readFile(new URL(`bundle/${name}`, import.meta.url))
}
