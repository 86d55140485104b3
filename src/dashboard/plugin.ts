import type { FastifyInstance, FastifyReply } from 'fastify'
import { readAssets } from './assets.js'

/**
 * The dashboard: one page over the public API. It is static and holds no secret, so that it needs no key itself; what it
 * shows, it asks for with the key of whoever looks at it.
 */
export async function dashboard(app: FastifyInstance): Promise<void> {
  const { page, contentSecurityPolicy, files, folder } = await readAssets()
  const hide = { schema: { hide: true } }
  const send = (reply: FastifyReply, type: string, content: Buffer): FastifyReply =>
    reply
      .header('content-security-policy', contentSecurityPolicy)
      .header('referrer-policy', 'no-referrer')
      .type(type)
      .send(content)

  // Whoever types in the address of the service wants to see something; for a program there is nothing at the root.
  app.get('/', hide, ({ headers: { accept = '' } }, reply) =>
    accept.includes('text/html') ? reply.header('vary', 'accept').redirect('dashboard') : reply.callNotFound()
  )
  // As bytes, which all answers share; of a text each answer that nobody reads would hold a copy.
  const html = Buffer.from(page)
  app.get('/dashboard', hide, (_request, reply) => send(reply.header('cache-control', 'no-cache'), 'text/html; charset=utf-8', html))
  // Relative: behind a proxy the service may stand below some path.
  app.get('/dashboard/', hide, (_request, reply) => reply.redirect('../dashboard'))
  for (const { name, type, content } of files) {
    const bytes = Buffer.from(content)
    // The folder's name changes with any of its files.
    app.get(`/dashboard/${folder}/${name}`, hide, (_request, reply) =>
      send(reply.header('cache-control', 'public, max-age=31536000, immutable'), type, bytes)
    )
  }
}
