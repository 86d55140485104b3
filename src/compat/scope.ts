import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { InvalidRequestError, RefusalError, reportFault, RETRY_AFTER_SECONDS, STATUS_OF, type Frame } from '../http/errors.js'
import { ForbiddenError, LockError, UnauthorizedError } from '../locks/errors.js'
import type { LocksOf } from '../locks/scoped-locks.js'
import { BadInputError } from './reading.js'

export interface CompatOptions {
  readonly locksOf: LocksOf
  /** The longest lease that may be asked for, in seconds. */
  readonly maxTtlSeconds: number
  /** Whether the operator has said which pages may call. */
  readonly corsIsSet: boolean
}

/**
 * Makes a scope answer every fault in the shape of its API, `{…frame, "error": "a sentence"}`: what its handlers refuse, what
 * cannot be read, a database that is away, a bug. Its schemas describe and no longer check, since each of these systems
 * has its own words, and its own order, for what is missing.
 */
export function answerFaultsAs(app: FastifyInstance, frame: Frame): void {
  app.setValidatorCompiler(() => () => true)
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, frame }
  })
  app.setErrorHandler<FastifyError | Error>((error, request, reply) => {
    if (error instanceof BadInputError) return refuse(reply, frame, 400, error.message)
    if (error instanceof LockError) {
      reportFault(request, error)
      const after = RETRY_AFTER_SECONDS[error.code]
      if (after !== undefined) void reply.header('retry-after', after)
      return refuse(reply, frame, STATUS_OF[error.code], error.message)
    }
    if (error instanceof UnauthorizedError) return refuse(reply.header('www-authenticate', 'Bearer'), frame, 401, error.message)
    if (error instanceof ForbiddenError) return refuse(reply, frame, 403, error.message)
    if (error instanceof RefusalError) return refuse(reply, frame, STATUS_OF[error.refusal], error.message)
    if (error instanceof InvalidRequestError) return refuse(reply, frame, 400, error.faults[0]?.msg ?? 'The request cannot be read')
    const { statusCode = 500 } = error as Partial<FastifyError>
    if (statusCode === 413) return refuse(reply, frame, 413, 'The body is larger than 64 KiB')
    if (statusCode === 415) return refuse(reply, frame, 415, 'The body must be sent as application/json')
    if (statusCode < 500) return refuse(reply, frame, statusCode, 'The request cannot be read')
    request.log.error({ err: error, reqId: request.id }, 'unexpected error')
    return refuse(reply, frame, 500, 'Internal server error')
  })
}

export function refuse(reply: FastifyReply, frame: Frame, status: number, error: string): FastifyReply {
  return reply.code(status).type('application/json; charset=utf-8').serializer(JSON.stringify).send({ ...frame, error })
}
