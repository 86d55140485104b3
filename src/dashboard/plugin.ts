import type { FastifyInstance, FastifyReply } from 'fastify'
import { readAssets } from './assets.js'

/**
 * The dashboard: one page over the public API. It is static and holds no secret, so that it needs no key itself; what it
 * shows, it asks for with the key of whoever looks at it.
 */
export async function dashboard(app: FastifyInstance): Promise<void> {
  const { page, contentSecurityPolicy, files, folder } = await readAssets()
  const hide = { schema: { hide: true } }
  const send = (reply: FastifyReply, type: string, content: string): FastifyReply =>
    reply
      .header('content-security-policy', contentSecurityPolicy)
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer')
      .type(type)
      .send(content)

  app.get('/dashboard', hide, (_request, reply) => send(reply.header('cache-control', 'no-cache'), 'text/html; charset=utf-8', page))
  // Relative: behind a proxy the service may stand below some path.
  app.get('/dashboard/', hide, (_request, reply) => reply.redirect('../dashboard'))
  for (const { name, type, content } of files) {
    // The folder's name changes with any of its files.
    app.get(`/dashboard/${folder}/${name}`, hide, (_request, reply) =>
      send(reply.header('cache-control', 'public, max-age=31536000, immutable'), type, content)
    )
  }
}
