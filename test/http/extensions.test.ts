import { onEachDatabase, type TestAppOptions } from '../support/app.js'

interface Page {
  readonly data: { readonly total_locks: number; readonly locks: readonly { readonly resource_name: string }[]; readonly next_cursor: string | null }
}

const mine = { resource_name: 'a', process_id: 'p' }
const named = { resource_name: 'a' }

onEachDatabase('each grant has a larger lock_id than the one before, and it is the fencing token', async (t, api) => {
  const taken: unknown[] = []
  for (const end of ['release', 'expiry', 'release']) {
    const { body } = await api.post<{ data: { lock_id: number; fencing_token: number } }>('/locks/request', { ...mine, ttl_seconds: 1 })
    t.equal(body.data.fencing_token, body.data.lock_id)
    taken.push(body.data.lock_id)
    if (end === 'release') await api.delete('/locks/release', mine)
    else await api.advance(1000)
  }
  t.strictSame(taken, [1, 2, 3])
})

onEachDatabase('a release that is repeated is told that this very lock was released, also when another process holds the resource', async (t, api) => {
  const mine = { resource_name: 'a', process_id: 'p' }
  const again = { ...mine, lock_id: 1 }
  await api.post('/locks/request', mine)
  const { body } = await api.delete<{ data: { released_at: string } }>('/locks/release', again)
  const { released_at } = body.data
  t.match(await api.delete('/locks/release', again), { status: 404, body: { reason: 'released', released_at } })
  await api.post('/locks/request', { ...mine, process_id: 'q' })
  t.match(await api.delete('/locks/release', again), { status: 404, body: { code: 'LOCK_NOT_HELD', reason: 'held_by_other', released_at } })
  t.match(await api.delete('/locks/release', { ...again, lock_id: 2 }), { status: 404, body: { reason: 'held_by_other', released_at: null } })
  t.notOk('released_at' in (await api.delete<object>('/locks/release', mine)).body, 'nothing is known of a lock without its number')
  await api.post('/locks/force-release', { resource_name: 'a', reason: 'why' })
  t.match(await api.delete('/locks/release', { ...mine, process_id: 'q', lock_id: 2 }), { status: 404, body: { reason: 'released', released_at: null } })
})

onEachDatabase('a renewal may replace the metadata, and keeps the number and the time of the grant', async (t, api) => {
  const { body } = await api.post<{ data: object }>('/locks/request', { ...mine, ttl_seconds: 10, metadata: { term: 1 } })
  await api.advance(1000)
  const { locked_at } = body.data as { locked_at: string }
  t.match(await api.post('/locks/renew', { ...mine, metadata: { term: 2 } }), { status: 200, body: { data: { lock_id: 1, locked_at, metadata: { term: 2 } } } })
  for (const kept of [{}, { metadata: null }]) t.match(await api.post('/locks/renew', { ...mine, ...kept }), { body: { data: { metadata: { term: 2 } } } })
  t.match(await api.post('/locks/renew-many', { process_id: 'p', locks: [{ ...named, metadata: {} }] }), { body: { data: { renewed: [{ metadata: {} }] } } })
  t.match(await api.get('/locks/status', named), { body: { data: { metadata: {}, lock_id: 1 } } })
  const tooLong = { metadata: { text: 'x'.repeat(4096) } }
  t.match(await api.post('/locks/renew', { ...mine, ...tooLong }), { status: 422, body: { detail: [{ loc: ['body', 'metadata'] }] } })
  const many = await api.post('/locks/renew-many', { process_id: 'p', locks: [{ ...named, ...tooLong }] })
  t.match(many, { status: 422, body: { detail: [{ loc: ['body', 'locks', '0', 'metadata'] }] } })
  t.match(await api.get('/locks/status', named), { body: { data: { metadata: {} } } })
})

onEachDatabase('several locks are renewed in one call, which says what was not held', async (t, api) => {
  await api.post('/locks/request-many', { resource_names: ['a', 'b'], process_id: 'p', ttl_seconds: 10 })
  await api.post('/locks/request', { resource_name: 'c', process_id: 'q' })
  await api.advance(5000)
  const locks = [{ resource_name: 'c' }, { resource_name: 'b', lock_id: 2 }, { resource_name: 'a', lock_id: 9 }, { resource_name: 'x' }]
  t.match(await api.post('/locks/renew-many', { process_id: 'p', locks }), {
    status: 200,
    body: {
      message: 'Renewed 1 of 4 locks',
      data: {
        renewed: [{ resource_name: 'b', lock_id: 2, renewed_at: String }],
        not_held: [
          { resource_name: 'c', reason: 'held_by_other' },
          { resource_name: 'a', lock_id: 9, reason: 'held_by_other' },
          { resource_name: 'x', reason: 'not_locked' }
        ]
      }
    }
  })
  await api.advance(5000)
  t.match(await api.get('/locks/all-locked', { process_id: 'p' }), { body: { data: { locks: [{ resource_name: 'b' }], total_locks: 1 } } })
  const one = { resource_name: 'b', ttl_seconds: 60 }
  for (const bad of [[], [one, { resource_name: 'b' }], [{ ...one, ttl_seconds: 0 }], [{ ...one, ttl: 5 }], Array.from({ length: 101 }, (_, index) => ({ resource_name: `n${index}` }))]) {
    t.match(await api.post('/locks/renew-many', { process_id: 'p', locks: bad }), { status: 422, body: { code: 'INVALID_REQUEST' } })
  }
})

onEachDatabase('lock_id as a precondition releases exactly that grant', async (t, api) => {
  await api.post('/locks/request', mine)
  await api.delete('/locks/release', { ...mine, lock_id: 1 })
  await api.post('/locks/request', mine)
  t.match(await api.delete('/locks/release', { ...mine, lock_id: 1 }), { status: 404, body: { code: 'LOCK_NOT_HELD', reason: 'held_by_other' } })
  t.match(await api.get('/locks/status', named), { body: { data: { is_locked: true, lock_id: 2 } } })
  t.match(await api.delete('/locks/release', { ...mine, lock_id: 2 }), { status: 200 })
})

onEachDatabase('metadata comes back from request, status and list as it was sent', async (t, api) => {
  const metadata = { host: 'worker-7', n: [1, null, { deep: true }], 'ü': '\u0000 "' }
  t.match(await api.post('/locks/request', { ...mine, metadata }), { body: { data: { metadata } } })
  const status = await api.get<{ data: { metadata: unknown } }>('/locks/status', named)
  t.strictSame(status.body.data.metadata, metadata)
  t.match(await api.get('/locks/all-locked'), { body: { data: { locks: [{ metadata }] } } })
  t.match(await api.post('/locks/request', { ...mine, resource_name: 'b', metadata: null }), { body: { data: { metadata: null } } })
})

const ofBytes = (bytes: number) => ({ k: `ü${'x'.repeat(bytes - 10)}` })
onEachDatabase('metadata may take 4 KiB as JSON, to the byte', async (t, api) => {
  t.match(await api.post('/locks/request', { ...mine, metadata: ofBytes(4096) }), { status: 200 })
  t.match(await api.post('/locks/request', { ...mine, resource_name: 'b', metadata: ofBytes(4097) }), { status: 422 })
})

onEachDatabase('a conflict says who holds it, until when, and when to come again', async (t, api) => {
  await api.post('/locks/request', { ...mine, ttl_seconds: 300 })
  await api.advance(123)
  const refused = await api.post('/locks/request', { ...mine, process_id: 'q' })
  t.equal(refused.status, 409)
  t.match(refused.headers, { 'retry-after': '300' })
  t.strictSame(refused.body, {
    detail: "Resource 'a' is already locked by process 'p'",
    code: 'RESOURCE_LOCKED',
    resource_name: 'a',
    locked_by: 'p',
    lock_id: 1,
    locked_at: '2024-01-15T10:30:00.000+00:00',
    expires_at: '2024-01-15T10:35:00.000+00:00',
    retry_after_seconds: 299.877,
    waiters: 0
  })
  await api.advance(299_800)
  const late = await api.post('/locks/request', mine)
  t.match(late, { headers: { 'retry-after': '1' }, body: { retry_after_seconds: 0.077 } }, 'at least a whole second')
})

onEachDatabase('a conflict with a lock that never ends has no Retry-After', async (t, api) => {
  await api.post('/locks/request', mine)
  const refused = await api.post('/locks/request', mine)
  t.match(refused, { status: 409, body: { expires_at: null, retry_after_seconds: null } })
  t.notOk('retry-after' in refused.headers)
})

onEachDatabase('the reason of a 404 is the same before and after the sweeper', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'expired', process_id: 'p', ttl_seconds: 1 })
  await api.post('/locks/request', { resource_name: 'released', process_id: 'p' })
  await api.delete('/locks/release', { resource_name: 'released', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'held_by_other', process_id: 'q' })
  await api.advance(1000)
  for (const pass of ['before', 'after']) {
    for (const reason of ['not_locked', 'expired', 'released', 'held_by_other']) {
      const answer = await api.delete('/locks/release', { resource_name: reason, process_id: 'p' })
      t.equal(answer.status, 404)
      t.strictSame(answer.body, { detail: `No active lock found for resource '${reason}' by process 'p'`, code: 'LOCK_NOT_HELD', reason }, pass)
    }
    await api.sweep()
  }
})

onEachDatabase('the list is sorted by name, filtered by prefix and process, and paged', async (t, api) => {
  for (const name of ['b/2', 'a', 'b/1', 'c', 'b/3', 'ü']) {
    await api.post('/locks/request', { resource_name: name, process_id: name.startsWith('b') ? 'p' : 'q' })
  }
  const list = async (query: Record<string, string | number>) => {
    const { body } = await api.get<Page>('/locks/all-locked', query)
    return { ...body.data, names: body.data.locks.map((lock) => lock.resource_name).join(' ') }
  }
  t.match(await list({}), { total_locks: 6, names: 'a b/1 b/2 b/3 c ü', next_cursor: null })
  t.match(await list({ prefix: '' }), { total_locks: 6 })
  t.match(await list({ prefix: 'b/' }), { total_locks: 3, names: 'b/1 b/2 b/3' })
  t.match(await list({ process_id: 'q' }), { total_locks: 3, names: 'a c ü' })
  t.match(await list({ prefix: 'b', process_id: 'q' }), { total_locks: 0, names: '' })
  t.match(await list({ prefix: 'b', limit: 3 }), { names: 'b/1 b/2 b/3', next_cursor: null }, 'a page that is just full is the last one')
  const pages: string[] = []
  for (let cursor: string | null = null, rounds = 0; rounds === 0 || cursor !== null; rounds += 1) {
    const page = await list({ limit: 2, ...(cursor === null ? {} : { cursor }) })
    t.equal(page.total_locks, 6, 'the total counts all that match, whatever the page shows')
    pages.push(page.names)
    cursor = page.next_cursor
  }
  t.strictSame(pages, ['a b/1', 'b/2 b/3', 'c ü'])
})

onEachDatabase('a page has at most a thousand locks', async (t, api) => {
  await Promise.all(Array.from({ length: 1001 }, (_, index) => api.post('/locks/request', { resource_name: `n${index}`, process_id: 'p' })))
  const { body } = await api.get<Page>('/locks/all-locked')
  t.equal(body.data.locks.length, 1000)
  t.match(body, { message: 'Retrieved 1001 active locks', data: { total_locks: 1001, next_cursor: String } })
  t.match(await api.get('/locks/all-locked', { limit: 1001 }), { status: 422 })
})

const limits: TestAppOptions = { defaultTtlMs: 90_000, maxTtlSeconds: 120 }
onEachDatabase('DEFAULT_TTL_SECONDS and MAX_TTL_SECONDS bound the lease', async (t, api) => {
  const expiry = async (name: string, ttl: object) =>
    (await api.post<{ data?: { expires_at: string | null } }>('/locks/request', { ...mine, resource_name: name, ...ttl })).body.data?.expires_at
  t.equal(await expiry('left out', {}), '2024-01-15T10:31:30.000+00:00')
  t.equal(await expiry('null', { ttl_seconds: null }), null)
  t.equal(await expiry('the most', { ttl_seconds: 120 }), '2024-01-15T10:32:00.000+00:00')
  t.equal(await expiry('to the millisecond', { ttl_seconds: 0.0125 }), '2024-01-15T10:30:00.013+00:00')
  t.equal(await expiry('at least one', { ttl_seconds: 1e-9 }), '2024-01-15T10:30:00.001+00:00')
  t.match(await api.post('/locks/request', { ...mine, ttl_seconds: 120.001 }), {
    status: 422,
    body: { detail: [{ type: 'less_than_equal', loc: ['body', 'ttl_seconds'], msg: 'Input should be less than or equal to 120' }] }
  })
}, limits)
