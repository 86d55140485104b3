import Fastify, { type FastifyInstance } from 'fastify'

interface Lock {
  readonly process: string
  readonly lockId: number
  readonly lockedAt: number
  readonly expiresAt: number
}

const text = { type: 'string', minLength: 1, maxLength: 255 } as const
const requestSchema = {
  body: {
    type: 'object',
    required: ['resource_name', 'process_id', 'ttl_seconds'],
    properties: { resource_name: text, process_id: text, ttl_seconds: { type: 'number', exclusiveMinimum: 0 } }
  }
} as const

interface Asked {
  readonly resource_name: string
  readonly process_id: string
  readonly ttl_seconds: number
}

/**
 * The second ceiling: what Fastify itself costs. Locks in a `Map` behind two routes as its guide has them, with one schema and no
 * hooks, and answers with the fields of the service's own.
 */
export function bareApp(): FastifyInstance {
  const locks = new Map<string, Lock>()
  let last = 0
  const app = Fastify()

  app.post<{ Body: Asked }>('/locks/request', { schema: requestSchema }, (request, reply) => {
    const { resource_name: name, process_id: process, ttl_seconds: seconds } = request.body
    const now = Date.now()
    const held = locks.get(name)
    if (held !== undefined && held.expiresAt > now) return reply.code(409).send(body(name, held, 'Resource is locked'))
    last += 1
    const lock = { process, lockId: last, lockedAt: now, expiresAt: now + seconds * 1000 }
    locks.set(name, lock)
    return reply.send(body(name, lock, 'Lock acquired successfully'))
  })

  app.delete<{ Querystring: Omit<Asked, 'ttl_seconds'> }>('/locks/release', (request, reply) => {
    const { resource_name: name, process_id: process } = request.query
    const held = locks.get(name)
    if (held?.process !== process) return reply.code(404).send({ success: false })
    locks.delete(name)
    return reply.send(body(name, held, 'Lock released successfully'))
  })

  return app
}

function body(name: string, { process, lockId, lockedAt, expiresAt }: Lock, message: string) {
  const times = { locked_at: new Date(lockedAt).toISOString(), expires_at: new Date(expiresAt).toISOString() }
  return { success: true, message, data: { lock_id: lockId, fencing_token: lockId, resource_name: name, process_id: process, ...times, metadata: null } }
}
