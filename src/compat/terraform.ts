import { Type } from '@sinclair/typebox'
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import { isoTime } from '../http/responses.js'
import { allows } from '../locks/api-keys.js'
import type { Conflict } from '../locks/commands.js'
import { ForbiddenError } from '../locks/errors.js'
import { type Grant, MAX_METADATA_BYTES, type ProcessId, type ResourceName } from '../locks/lock.js'
import type { Locks } from '../locks/scoped-locks.js'
import { answerFaultsAs, BadInputError, body, type CompatOptions, faultsOf, fieldsOf, holderOf, IdSchema, nameOf, requireFields, ttlMsOf } from './common.js'

export const terraformTag = { name: 'Terraform', description: 'Locks on states, as the http backend of Terraform and OpenTofu takes them. Faults are `{"error": …}`.' }

/** What stands before the name of a state in the name of its resource. */
const STATE_PREFIX = 'terraform:'

/** The fields that Terraform writes, all of them texts. It cannot read an answer in which one is anything else. */
const INFO_FIELDS = ['ID', 'Operation', 'Info', 'Who', 'Version', 'Created', 'Path'] as const

/** What is known of a lock on a state. */
type LockInfo = Readonly<Partial<Record<(typeof INFO_FIELDS)[number], string>>> & { readonly ID: string }

/** How often a lock is asked for again when its holder was gone before it could be named. */
const MOST_TRIES = 3

const tags = [terraformTag.name]
const faults = faultsOf('TerraformRefusal', {}, {})
const refusal = (description: string, error: string) => body(description, { error: Type.String() }, { error }, 'TerraformRefusal')

const params = Type.Object({
  name: Type.String({ description: 'The state; with `terraform:` before it, it is the name of the resource that `/locks/all-locked` shows.', examples: ['prod'] })
})
const infoFields = {
  ID: IdSchema('The run that takes the lock, which becomes its `process_id`.', '6f1c6a0e-7f2b-4b1c-9a53-0d6a3f0e8f11'),
  ...Object.fromEntries(INFO_FIELDS.slice(1).map((name) => [name, Type.Optional(Type.String())]))
}
const exampleInfo = {
  ID: '6f1c6a0e-7f2b-4b1c-9a53-0d6a3f0e8f11',
  Operation: 'OperationTypeApply',
  Info: '',
  Who: 'ann@laptop',
  Version: '1.11.4',
  Created: '2024-01-15T10:30:00.123Z',
  Path: ''
}
const sent = (description: string) => body(description, infoFields, exampleInfo)
const info = (description: string) => body(description, infoFields, exampleInfo, 'TerraformLockInfo')
const AS_PASSWORD = 'The key may also be sent as the password of HTTP’s Basic authentication, with any user.'

const lockSchema = {
  operationId: 'lockTerraformState',
  tags,
  summary: 'Lock a state',
  description: `The same as \`LOCK /terraform/{name}\`, Terraform’s own method, which this document cannot name. Sent again, it is answered as before. ${AS_PASSWORD}`,
  params,
  querystring: Type.Object({
    ttl_seconds: Type.Optional(Type.String({ description: 'How long the lock lasts, in seconds; without it, until it is unlocked. Terraform does not renew.', examples: ['14400'] }))
  }),
  body: sent('What Terraform says about the run.'),
  response: { 200: info('The state is locked.'), 423: info('Another run has locked it, and this is what it said.'), ...faults.withBody('ID is required') }
}

const unlockSchema = {
  operationId: 'unlockTerraformState',
  tags,
  summary: 'Unlock a state',
  description:
    'The same as `UNLOCK /terraform/{name}`. With a body, it ends the lock of that ID; without one, as `terraform force-unlock` sends it, the lock of ' +
    `any ID, which takes the scope \`admin\`. ${AS_PASSWORD}`,
  params,
  body: sent('What was sent to lock it.'),
  response: {
    200: info('It is unlocked; repeated, the answer is the same.'),
    ...faults.withBody('ID is required'),
    404: refusal('Without a body: nobody has locked it.', 'The state is not locked'),
    409: refusal('The lock was lost before: it was force-released, or its time was over.', 'The lock was lost before it was unlocked: another run may have changed the state')
  }
}

export const TERRAFORM_FAULT = {}

interface WithName {
  Params: { name: string }
  Querystring: Readonly<Record<string, unknown>>
}

type StateRequest = FastifyRequest<WithName>

/** The calls by which the http backend of Terraform and OpenTofu locks a state. The state itself is another server's. */
export const terraform: FastifyPluginCallback<CompatOptions> = (app, { locksOf, maxTtlSeconds }, done) => {
  answerFaultsAs(app, TERRAFORM_FAULT)
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, keyAsPassword: true }
  })
  app.addHttpMethod('LOCK', { hasBody: true })
  app.addHttpMethod('UNLOCK', { hasBody: true })

  const lock = async (request: StateRequest, reply: FastifyReply): Promise<unknown> => {
    const locks = locksOf(request.apiKey)
    const state = stateOf(request)
    const wanted = infoIn(request.body)
    const ttlMs = ttlIn(request.query, maxTtlSeconds)
    for (let tries = 1; ; tries += 1) {
      const outcome = await locks.request({
        resourceNames: [state],
        processId: wanted.processId,
        ttlMs,
        metadata: wanted.info,
        // Terraform makes an ID for each lock and repeats the call when its answer is lost.
        requestId: JSON.stringify([state, wanted.processId])
      })
      if (outcome.kind === 'granted') return wanted.info
      if (outcome.kind === 'request-id-reused') throw new BadInputError('The ID was used before, for other content or for a lock that has ended since')
      const [conflict] = outcome.conflicts
      if (conflict === undefined) throw new Error('a request was refused without a conflict')
      const { grant } = await locks.inspect(state)
      if (grant !== null || conflict.lockId === 0 || tries >= MOST_TRIES) return reply.code(423).send(infoOf(grant ?? conflict))
    }
  }

  const unlock = async (request: StateRequest, reply: FastifyReply): Promise<unknown> => {
    const locks = locksOf(request.apiKey)
    const state = stateOf(request)
    if (request.body === undefined) {
      if (request.apiKey !== null && !allows(request.apiKey, 'admin')) throw new ForbiddenError("Unlocking without an ID takes an API key with the scope 'admin'")
      const forced = await locks.forceRelease(state, 'terraform force-unlock', undefined)
      if (forced.kind !== 'released') return reply.code(404).send({ error: 'The state is not locked' })
      app.log.warn({ resourceName: state, processId: forced.grant.processId, reqId: request.id }, 'terraform state force-unlocked')
      return infoOf(forced.grant)
    }
    const mine = infoIn(request.body)
    const outcome = await locks.release({ resourceName: state, processId: mine.processId })
    if (outcome.kind === 'released' || (await wasReleased(locks, state, mine.processId, outcome.reason))) return mine.info
    return reply.code(409).send({ error: 'The lock was lost before it was unlocked: another run may have changed the state' })
  }

  app.route<WithName>({ method: 'LOCK', url: '/terraform/:name', config: { access: 'write' }, schema: { hide: true }, handler: lock })
  app.route<WithName>({ method: 'UNLOCK', url: '/terraform/:name', config: { access: 'write' }, schema: { hide: true }, handler: unlock })
  app.post<WithName>('/terraform/:name/lock', { config: { access: 'write' }, schema: lockSchema }, lock)
  app.post<WithName>('/terraform/:name/unlock', { config: { access: 'write' }, schema: unlockSchema }, unlock)
  done()
}

function stateOf({ params: { name } }: StateRequest): ResourceName {
  return nameOf(STATE_PREFIX, name, 'The name of the state')
}

function infoIn(body: unknown): { readonly processId: ProcessId; readonly info: LockInfo } {
  const fields = fieldsOf(body)
  requireFields(fields, 'ID')
  const processId = holderOf(fields['ID'], 'ID')
  const texts = INFO_FIELDS.flatMap((name) => (typeof fields[name] === 'string' ? [[name, fields[name]]] : []))
  const info = { ...(Object.fromEntries(texts) as Partial<LockInfo>), ID: processId }
  if (Buffer.byteLength(JSON.stringify(info)) > MAX_METADATA_BYTES) throw new BadInputError(`The fields should take at most ${MAX_METADATA_BYTES} bytes as JSON`)
  return { processId, info }
}

/** Null, no end, where none is asked for. A parameter that is misspelt must not pass for that. */
function ttlIn({ ttl_seconds: seconds, ...others }: StateRequest['query'], maximum: number): number | null {
  const [other] = Object.keys(others)
  if (other !== undefined) throw new BadInputError('The only parameter is ttl_seconds')
  return seconds === undefined ? null : ttlMsOf(seconds, 0, maximum, 'ttl_seconds')
}

/** What the holder said when it took the lock; of one that was taken by another call, as much as is known. */
function infoOf(holder: Grant | Conflict): LockInfo {
  const { processId: ID, resourceName, lockedAt } = holder
  const said = 'metadata' in holder ? holder.metadata : null
  if (said?.['ID'] === ID) return said as LockInfo
  return { ID, Operation: '', Info: '', Who: ID, Version: '', Created: isoTime(lockedAt ?? 0), Path: resourceName }
}

/** Whether the run itself has unlocked the state, by a call whose answer was lost. An ID is used for one lock only. */
async function wasReleased(locks: Locks, resourceName: ResourceName, processId: ProcessId, reason: string): Promise<boolean> {
  if (!locks.keepsHistory) return reason === 'released'
  const { events } = await locks.reads.history({ prefix: '', resourceName, processId, before: null, limit: 1 })
  return events[0]?.kind === 'released'
}
