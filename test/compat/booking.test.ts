import { onEachDatabase, type Answer, type TestApp } from '../support/app.js'
import { allLocked, answersTo } from '../support/openapi.js'

interface Booked {
  readonly bookingId: number
}

const lockedFor = (seat: string, seconds: number | null) => ({ success: false, error: `Seat ${seat} is currently locked.`, try_again_in_seconds: seconds })
const book = (api: TestApp, seat: unknown): Promise<Answer<Booked>> => api.post('/api/book', { seat_number: seat })

onEachDatabase('a seat is booked for a minute', async (t, api) => {
  const before = Date.now()
  const { status, body } = await book(api, 'A12')
  t.equal(status, 200)
  t.strictSame(body, {
    success: true,
    message: 'Seat A12 booked successfully. Lock active for 1 minute.',
    bookingId: body.bookingId,
    seat_number: 'A12',
    expires_in: 60
  })
  t.ok(Number.isSafeInteger(body.bookingId) && body.bookingId >= before && body.bookingId <= Date.now() + 1, 'the booking id is the time')
  t.strictSame(await allLocked(api), { 'seat_lock:A12': String(body.bookingId) }, 'and owns the lock')
  for (const [after, left] of [[0, 60], [14_500, 46], [500, 45], [44_001, 1], [998, 1]] as const) {
    await api.advance(after)
    await answersTo(t, api, [['POST /api/book', { seat_number: 'A12' }, 409, lockedFor('A12', left)]])
  }
  await api.advance(1)
  t.match(await book(api, 'A12'), { status: 200 }, 'the refusals did not make it last longer')
})

onEachDatabase('a number is the same seat as its digits', async (t, api) => {
  t.match(await book(api, 12), { status: 200, body: { message: /^Seat 12 booked/, seat_number: 12 } })
  await answersTo(t, api, [
    ['POST /api/book', { seat_number: '12' }, 409, lockedFor('12', 60)],
    ['POST /api/book', { seat_number: 12 }, 409, lockedFor('12', 60)]
  ])
  t.match(await book(api, '13'), { status: 200, body: { seat_number: '13' } })
  t.match(await book(api, '012'), { status: 200 }, 'but not as other digits')
})

onEachDatabase('a seat that was locked for good is not said to be free soon', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'seat_lock:A1', process_id: 'repair' })
  await answersTo(t, api, [['POST /api/book', { seat_number: 'A1' }, 409, lockedFor('A1', null)]])
})

onEachDatabase('of thirty who race for a seat one gets it, and no two bookings share an id', async (t, api) => {
  const answers = await Promise.all(Array.from({ length: 30 }, () => book(api, 'A12')))
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  for (const { status, body } of answers) if (status !== 200) t.strictSame({ status, body }, { status: 409, body: lockedFor('A12', 60) })
  const seats = await Promise.all(Array.from({ length: 30 }, (_, index) => book(api, `B${index}`)))
  t.equal(new Set(seats.map(({ body }) => body.bookingId)).size, 30)
})

onEachDatabase('pages of any origin may book', async (t, api) => {
  const origin = { 'access-control-allow-origin': '*' }
  t.match(await api.send({ method: 'OPTIONS', url: '/api/book', headers: { origin: 'https://x.example', 'access-control-request-method': 'POST' } }), {
    status: 204,
    headers: { ...origin, 'access-control-allow-methods': 'POST', 'access-control-allow-headers': /content-type/ },
    body: ''
  })
  t.match(await book(api, 'A1'), { status: 200, headers: origin })
  t.match(await book(api, 'A1'), { status: 409, headers: origin })
  t.match(await book(api, ''), { status: 400, headers: origin })
  t.match(await api.send({ method: 'POST', url: '/api/book', payload: 'text' }), { status: 415, headers: origin })
  for (const url of ['/locks/status?resource_name=a', '/lock/user/1', '/api/lock/all']) {
    t.notOk('access-control-allow-origin' in (await api.get(url)).headers, `${url} is for no other origin`)
  }
})
