import { Type } from '@sinclair/typebox'
import type { FastifyPluginCallback } from 'fastify'
import { orNull } from '../http/schemas/common.js'
import { secondsUntil } from '../http/responses.js'
import { processId, ttlFromSeconds } from '../locks/lock.js'
import { answerFaultsAs, body, type CompatOptions, faultsOf, fieldsOf, IdSchema, nameOf, requireFields, textOf } from './common.js'

const SEAT_SECONDS = 60
export const bookingTag = { name: 'Booking', description: 'Seats for a minute, as the Ticket Booking API has them. Refusals are `{"success": false, "error": …}`.' }

const BOOKING_FAULT = { success: false }

/** Pages of any origin may book, as in the system that is replaced, unless the operator says which may. */
const ANY_ORIGIN = { 'access-control-allow-origin': '*' }
const PREFLIGHT = {
  'access-control-allow-methods': 'POST',
  'access-control-allow-headers': 'content-type, authorization',
  'access-control-max-age': '86400'
}

const schema = {
  operationId: 'bookSeat',
  tags: [bookingTag.name],
  summary: 'Book a seat for a minute',
  description: 'Nobody can release a seat; its lock ends by itself. The booking id is the `process_id` of the lock.',
  body: body(
    'Which seat.',
    {
      seat_number: IdSchema(
        'The seat; a number is the same seat as its digits. With `seat_lock:` before it, it is the name of the resource that `/locks/all-locked` shows.',
        'A12'
      )
    },
    { seat_number: 'A12' }
  ),
  response: {
    200: body(
      'The seat is booked.',
      {
        success: Type.Literal(true),
        message: Type.String(),
        bookingId: Type.Integer({ description: 'When it was booked, in milliseconds since 1970; no two bookings of an instance share one.' }),
        seat_number: Type.Unsafe<string | number>({ type: ['string', 'number'] }),
        expires_in: Type.Integer()
      },
      {
        success: true,
        message: 'Seat A12 booked successfully. Lock active for 1 minute.',
        bookingId: 1737654321000,
        seat_number: 'A12',
        expires_in: SEAT_SECONDS
      }
    ),
    409: body(
      'Somebody has booked it; the refusal does not make that lock last longer.',
      {
        success: Type.Literal(false),
        error: Type.String(),
        try_again_in_seconds: orNull<number>('integer', { description: 'At least 1; null where nobody knows: through `/locks/request` a seat can be locked for good, or awaited in line.' })
      },
      { success: false, error: 'Seat A12 is currently locked.', try_again_in_seconds: 45 }
    ),
    ...faultsOf('BookingRefusal', { success: Type.Literal(false) }, BOOKING_FAULT).withBody('seat_number is required')
  }
}

/** The call of the Ticket Booking API. */
export const booking: FastifyPluginCallback<CompatOptions> = (app, { locksOf, corsIsSet }, done) => {
  let lastId = 0
  answerFaultsAs(app, BOOKING_FAULT)
  if (!corsIsSet) {
    app.addHook('onRequest', (_request, reply, next) => {
      void reply.headers(ANY_ORIGIN)
      next()
    })
    app.options('/api/book', { config: { access: 'open' }, schema: { hide: true } }, (_request, reply) => reply.code(204).headers(PREFLIGHT).send())
  }

  app.post('/api/book', { config: { access: 'write', anyOrigin: true }, schema }, async (request, reply) => {
    const fields = fieldsOf(request.body)
    requireFields(fields, 'seat_number')
    const { seat_number: given } = fields
    const seat = textOf(given, 'seat_number')
    const resourceNames = [nameOf('seat_lock:', seat, 'seat_number')]
    // Two bookings in one millisecond are still two.
    lastId = Math.max(lastId + 1, Date.now())
    const bookingId = lastId
    const outcome = await locksOf(request.apiKey).request({ resourceNames, processId: processId(String(bookingId)), ttlMs: ttlFromSeconds(SEAT_SECONDS) })
    if (outcome.kind === 'granted') {
      const message = `Seat ${seat} booked successfully. Lock active for 1 minute.`
      return { success: true, message, bookingId, seat_number: given, expires_in: SEAT_SECONDS }
    }
    const [conflict] = outcome.kind === 'held' ? outcome.conflicts : []
    const left = outcome.kind === 'held' ? secondsUntil(conflict?.expiresAt ?? null, outcome.at) : null
    return reply.code(409).send({
      success: false,
      error: `Seat ${seat} is currently locked.`,
      try_again_in_seconds: left === null ? null : Math.max(1, Math.ceil(left))
    })
  })

  done()
}
