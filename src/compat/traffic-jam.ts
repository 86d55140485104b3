import { type TProperties, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import { orNull } from '../http/schemas/common.js'
import type { ResourceName } from '../locks/lock.js'
import {
  answerFaultsAs,
  BadInputError,
  body,
  type CompatOptions,
  faultsOf,
  fieldsOf,
  holderOf,
  IdSchema,
  nameOf,
  requireFields,
  textOf,
  ttlMsOf,
  ttlSchema
} from './common.js'

/** What traffic-jam-session locks, each by itself or, for a company, with users. */
type Kind = 'user' | 'contract' | 'company'

const TRAFFIC_JAM_TTL_SECONDS = 30
const MOST_USERS = 1000

export const trafficJamTag = { name: 'Traffic jam', description: 'Locks on users, companies and contracts, as traffic-jam-session has them. Faults are `{"error": …}`.' }

const tags = [trafficJamTag.name]
const faults = faultsOf('TrafficJamRefusal', {}, {})
const PROCESS_REQUIRED = 'processId is required'
const ProcessId = IdSchema('Who holds or wants it: 1 to 255 characters of Unicode in NFC, no control characters.', 'process-123')

const done = (description: string, message: string) =>
  body(description, { success: Type.Literal(true), message: Type.String() }, { success: true, message }, 'TrafficJamDone')
const refused = (description: string, message: string, more: TProperties = {}) =>
  body(description, { success: Type.Literal(false), message: Type.String(), ...more }, { success: false, message })

const idOf = (kind: Kind) =>
  Type.Object({
    id: Type.String({
      description: `The ${kind}; with \`lock:${kind}:\` before it, it is the name of the resource that \`/locks/all-locked\` shows.`,
      examples: [`${kind}-1`]
    })
  })

const STATUS_OPERATIONS: Readonly<Record<Kind, string>> = { user: 'getUserLock', contract: 'getContractLock', company: 'getCompanyLock' }

/** Looking at one of them. */
function statusSchema(kind: Kind) {
  return {
    operationId: STATUS_OPERATIONS[kind],
    tags,
    summary: `Check the lock on a ${kind}`,
    params: idOf(kind),
    response: {
      200: body(
        'Whether it is locked, and by whom.',
        { [`${kind}Id`]: Type.String(), locked: Type.Boolean(), holder: orNull<string>('string', {}) },
        { [`${kind}Id`]: `${kind}-1`, locked: true, holder: 'process-123' }
      ),
      ...faults.withId(`${kind}Id should have no control characters`)
    }
  }
}

/** Locking and unlocking a user or a contract. */
function singleSchemas(kind: 'user' | 'contract', Title: string, maxTtlSeconds: number) {
  return {
    lock: {
      operationId: `lock${Title}`,
      tags,
      summary: `Lock a ${kind}`,
      description: 'Its holder is refused as well, and its lock is not renewed.',
      params: idOf(kind),
      body: body(
        'Who wants it, and for how long.',
        { processId: ProcessId, ttl: Type.Optional(ttlSchema(TRAFFIC_JAM_TTL_SECONDS, maxTtlSeconds)) },
        { processId: 'process-123', ttl: 30 }
      ),
      response: {
        200: done('It is locked.', `${Title} ${kind}-1 locked by process process-123`),
        409: refused('It is already locked.', `${Title} ${kind}-1 is already locked`),
        ...faults.withBody(PROCESS_REQUIRED)
      }
    },
    unlock: {
      operationId: `unlock${Title}`,
      tags,
      summary: `Unlock a ${kind}`,
      params: idOf(kind),
      body: body('Who holds it.', { processId: ProcessId }, { processId: 'process-123' }),
      response: {
        200: done('It is unlocked.', `${Title} ${kind}-1 unlocked by process process-123`),
        ...faults.withBody(PROCESS_REQUIRED),
        403: Type.Union([Type.Object({ success: Type.Literal(false), message: Type.String() }), Type.Object({ error: Type.String() })], {
          description: 'Somebody else holds it, or nobody does; with `error` alone, the API key does not allow the call.',
          examples: [{ success: false, message: `${Title} ${kind}-1 is not locked by process process-123` }]
        })
      }
    }
  }
}

/** Locking and unlocking a company with users. */
function companySchemas(maxTtlSeconds: number) {
  const UserIds = Type.Array(IdSchema('A user.', 'user1'), {
    maxItems: MOST_USERS,
    description: 'The users that belong to it; none is fine. A user named twice counts once, and a user left out is not touched.'
  })
  const example = { processId: 'process-123', userIds: ['user1', 'user2'] }
  return {
    lock: {
      operationId: 'lockCompany',
      tags,
      summary: 'Lock a company with its users',
      description: 'The company and all of the users, in one transaction; or nothing, when one of them is locked, be it by the same process.',
      params: idOf('company'),
      body: body(
        'Who wants it, with which users, and for how long.',
        { processId: ProcessId, userIds: UserIds, ttl: Type.Optional(ttlSchema(TRAFFIC_JAM_TTL_SECONDS, maxTtlSeconds)) },
        { ...example, ttl: 30 }
      ),
      response: {
        200: body(
          'All are locked.',
          {
            success: Type.Literal(true),
            companyLocked: Type.Literal(true),
            userLocks: Type.Array(Type.Object({ userId: Type.String(), locked: Type.Literal(true) }))
          },
          { success: true, companyLocked: true, userLocks: [{ userId: 'user1', locked: true }, { userId: 'user2', locked: true }] }
        ),
        409: refused('Nothing was locked: the company is locked already or, with `failedUser`, that user is.', 'Company already locked', {
          failedUser: Type.Optional(Type.String())
        }),
        ...faults.withBody('userIds array is required')
      }
    },
    unlock: {
      operationId: 'unlockCompany',
      tags,
      summary: 'Unlock a company and users',
      description: 'Unlocks whatever of it the process holds, in one transaction.',
      params: idOf('company'),
      body: body('Who holds it, and which users to unlock.', { processId: ProcessId, userIds: UserIds }, example),
      response: {
        200: body(
          'What was unlocked.',
          { companyUnlocked: Type.Boolean(), userUnlocks: Type.Array(Type.Object({ userId: Type.String(), unlocked: Type.Boolean() })) },
          { companyUnlocked: true, userUnlocks: [{ userId: 'user1', unlocked: true }, { userId: 'user2', unlocked: false }] }
        ),
        ...faults.withBody('userIds array is required')
      }
    }
  }
}

export const TRAFFIC_JAM_FAULT = {}

interface WithId {
  Params: { id: string }
}

/** The calls of traffic-jam-session: locks on users and contracts, and on companies together with their users. */
export const trafficJam: FastifyPluginCallback<CompatOptions> = (app, options, done) => {
  answerFaultsAs(app, TRAFFIC_JAM_FAULT)
  for (const kind of ['user', 'contract', 'company'] as const) {
    app.get<WithId>(`/lock/${kind}/:id`, { config: { access: 'read' }, schema: statusSchema(kind) }, async ({ params: { id }, apiKey }) => {
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

  app.post<WithId>(`/lock/${kind}/:id`, { config: { access: 'write' }, schema: schemas.lock }, async ({ params: { id }, body, apiKey }, reply) => {
    const { processId, ttl } = read(body)
    const ttlMs = ttlMsOf(ttl, TRAFFIC_JAM_TTL_SECONDS, maxTtlSeconds)
    const { kind: outcome } = await locksOf(apiKey).request({ resourceNames: [keyOf(kind, id)], processId, ttlMs })
    if (outcome !== 'granted') return reply.code(409).send({ success: false, message: `${Title} ${id} is already locked` })
    return { success: true, message: `${Title} ${id} locked by process ${processId}` }
  })

  app.post<WithId>(`/unlock/${kind}/:id`, { config: { access: 'write' }, schema: schemas.unlock }, async ({ params: { id }, body, apiKey }, reply) => {
    const { processId } = read(body)
    const outcome = await locksOf(apiKey).release({ resourceName: keyOf(kind, id), processId })
    if (outcome.kind === 'not-held') return reply.code(403).send({ success: false, message: `${Title} ${id} is not locked by process ${processId}` })
    return { success: true, message: `${Title} ${id} unlocked by process ${processId}` }
  })
}

function addCompany(app: FastifyInstance, { locksOf, maxTtlSeconds }: CompatOptions): void {
  const schemas = companySchemas(maxTtlSeconds)

  app.post<WithId>('/lock/company/:id', { config: { access: 'write' }, schema: schemas.lock }, async ({ params: { id }, body, apiKey }, reply) => {
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

  app.post<WithId>('/unlock/company/:id', { config: { access: 'write' }, schema: schemas.unlock }, async ({ params: { id }, body, apiKey }) => {
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
