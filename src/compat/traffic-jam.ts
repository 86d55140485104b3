import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import type { ResourceName } from '../locks/lock.js'
import { BadInputError, fieldsOf, holderOf, nameOf, requireFields, textOf, ttlMsOf } from './reading.js'
import { answerFaultsAs, type CompatOptions } from './scope.js'
import { companySchemas, MOST_USERS, singleSchemas, statusSchema, TRAFFIC_JAM_TTL_SECONDS, type Kind } from './traffic-jam-schemas.js'

export const TRAFFIC_JAM_FAULT = {}

interface WithId {
  Params: { id: string }
}

/** The calls of traffic-jam-session: locks on users and contracts, and on companies together with their users. */
export const trafficJam: FastifyPluginCallback<CompatOptions> = (app, options, done) => {
  answerFaultsAs(app, TRAFFIC_JAM_FAULT)
  for (const kind of ['user', 'contract', 'company'] as const) {
    app.get<WithId>(`/lock/${kind}/:id`, { schema: statusSchema(kind) }, async ({ params: { id }, apiKey }) => {
      const { grant } = await options.locksOf(apiKey).inspect(keyOf(kind, id))
      return { [`${kind}Id`]: id, locked: grant !== null, holder: grant?.processId ?? null }
    })
  }
  addSingle(app, 'user', 'User', options)
  addSingle(app, 'contract', 'Contract', options)
  addCompany(app, options)
  done()
}

function addSingle(app: FastifyInstance, kind: 'user' | 'contract', Title: string, { locksOf, maxTtlSeconds }: CompatOptions): void {
  const schemas = singleSchemas(kind, Title, maxTtlSeconds)

  app.post<WithId>(`/lock/${kind}/:id`, { schema: schemas.lock }, async ({ params: { id }, body, apiKey }, reply) => {
    const { processId, ttl } = read(body)
    const ttlMs = ttlMsOf(ttl, TRAFFIC_JAM_TTL_SECONDS, maxTtlSeconds)
    const { kind: outcome } = await locksOf(apiKey).request({ resourceNames: [keyOf(kind, id)], processId, ttlMs })
    if (outcome !== 'granted') return reply.code(409).send({ success: false, message: `${Title} ${id} is already locked` })
    return { success: true, message: `${Title} ${id} locked by process ${processId}` }
  })

  app.post<WithId>(`/unlock/${kind}/:id`, { schema: schemas.unlock }, async ({ params: { id }, body, apiKey }, reply) => {
    const { processId } = read(body)
    const outcome = await locksOf(apiKey).release({ resourceName: keyOf(kind, id), processId })
    if (outcome.kind === 'not-held') return reply.code(403).send({ success: false, message: `${Title} ${id} is not locked by process ${processId}` })
    return { success: true, message: `${Title} ${id} unlocked by process ${processId}` }
  })
}

function addCompany(app: FastifyInstance, { locksOf, maxTtlSeconds }: CompatOptions): void {
  const schemas = companySchemas(maxTtlSeconds)

  app.post<WithId>('/lock/company/:id', { schema: schemas.lock }, async ({ params: { id }, body, apiKey }, reply) => {
    const { processId, userIds, ttl } = read(body)
    const users = usersIn(userIds)
    const ttlMs = ttlMsOf(ttl, TRAFFIC_JAM_TTL_SECONDS, maxTtlSeconds)
    const company = keyOf('company', id)
    const outcome = await locksOf(apiKey).request({ resourceNames: [company, ...users.values()], processId, ttlMs })
    if (outcome.kind === 'granted') {
      return { success: true, companyLocked: true, userLocks: [...users.keys()].map((userId) => ({ userId, locked: true })) }
    }
    const taken = new Set(outcome.kind === 'held' ? outcome.conflicts.map(({ resourceName }) => resourceName) : [])
    const [failedUser] = [...users].find(([, key]) => taken.has(key)) ?? []
    if (taken.has(company) || failedUser === undefined) return reply.code(409).send({ success: false, message: 'Company already locked' })
    return reply.code(409).send({ success: false, message: `Failed to lock user ${failedUser}, all locks rolled back`, failedUser })
  })

  app.post<WithId>('/unlock/company/:id', { schema: schemas.unlock }, async ({ params: { id }, body, apiKey }) => {
    const { processId, userIds } = read(body)
    const users = usersIn(userIds)
    const [company, ...unlocked] = await locksOf(apiKey).releaseMany([keyOf('company', id), ...users.values()], processId)
    return {
      companyUnlocked: company?.kind === 'released',
      userUnlocks: [...users.keys()].map((userId, index) => ({ userId, unlocked: unlocked[index]?.kind === 'released' }))
    }
  })
}

function read(body: unknown) {
  const fields = fieldsOf(body)
  requireFields(fields, 'processId')
  return { processId: holderOf(fields['processId'], 'processId'), userIds: fields['userIds'], ttl: fields['ttl'] }
}

function keyOf(kind: Kind, id: string): ResourceName {
  return nameOf(`lock:${kind}:`, id, `${kind}Id`)
}

/** Each user once, in the order in which they were named, with the resource that stands for it. */
function usersIn(userIds: unknown): ReadonlyMap<string, ResourceName> {
  if (!Array.isArray(userIds)) throw new BadInputError('userIds array is required')
  if (userIds.length > MOST_USERS) throw new BadInputError(`userIds should have at most ${MOST_USERS} items`)
  return new Map(
    userIds.map((value: unknown, index) => {
      const userId = textOf(value, `userIds[${index}]`)
      return [userId, nameOf('lock:user:', userId, `userIds[${index}]`)]
    })
  )
}
