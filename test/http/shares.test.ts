import { onEachDatabase } from '../support/app.js'

const a = { resource_name: 'a' }

onEachDatabase('a share says so in every answer, and an exclusive lock says nothing of it', async (t, api) => {
  const exclusive = await api.post('/locks/request', { resource_name: 'x', process_id: 'p', mode: 'exclusive' })
  t.strictSame(Object.keys((exclusive.body as { data: object }).data), ['lock_id', 'fencing_token', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'])
  const shared = { mode: 'shared', limit: 3, permits: 2, slots: [1, 2] }
  t.match(await api.post('/locks/request', { ...a, process_id: 'p', limit: 3, permits: 2, ttl_seconds: 60, request_id: 'r' }), { status: 200, body: { data: shared } })
  t.match(await api.post('/locks/request', { ...a, process_id: 'p', limit: 3, permits: 2, ttl_seconds: 60, request_id: 'r' }), { body: { data: { ...shared, replayed: true } } })
  t.match(await api.post('/locks/request', { ...a, process_id: 'p', limit: 3, permits: 1, ttl_seconds: 60, request_id: 'r' }), { status: 409, body: { code: 'REQUEST_ID_REUSED' } })
  t.match(await api.post('/locks/request', { resource_name: 'b', process_id: 'p', mode: 'shared' }), { body: { data: { mode: 'shared', limit: null, permits: 1, slots: [] } } })
  t.match(await api.post('/locks/renew', { ...a, process_id: 'p', ttl_seconds: 90 }), { body: { data: shared } })
  t.match(await api.post('/locks/renew-many', { process_id: 'p', locks: [a] }), { body: { data: { renewed: [shared] } } })
  t.match(await api.post('/locks/renew-all', { process_id: 'p' }), { body: { data: { total_renewed: 3, locks: [shared, { mode: 'shared' }, { mode: undefined }] } } })
  t.match(await api.get('/locks/all-locked', { resource_name: 'a' }), { body: { data: { total_locks: 1, locks: [shared] } } })
})

onEachDatabase('a refusal counts the holders and names the one to wait for', async (t, api) => {
  for (const [index, process_id] of ['p', 'q'].entries()) await api.post('/locks/request', { ...a, process_id, limit: 2, ttl_seconds: 60 * (index + 1) })
  const full = await api.post('/locks/request', { ...a, process_id: 'r', limit: 2 })
  t.match(full, { status: 409, headers: { 'retry-after': '60' }, body: { code: 'RESOURCE_LOCKED', locked_by: 'p', retry_after_seconds: 60, holders: 2, used: 2, limit: 2 } })
  t.match(await api.post('/locks/request', { ...a, process_id: 'w' }), { status: 409, body: { locked_by: 'q', retry_after_seconds: 120, holders: 2 } })
  const many = await api.post('/locks/request-many', { resource_names: ['a', 'b'], process_id: 'w' })
  t.match(many, { status: 409, body: { conflicts: [{ resource_name: 'a', locked_by: 'q', holders: 2, used: 2, limit: 2 }] } })
  await api.post('/locks/request', { resource_name: 'x', process_id: 'p' })
  t.notHas((await api.post('/locks/request', { resource_name: 'x', process_id: 'r', mode: 'shared' })).body, { holders: {} })
})

onEachDatabase('several resources are asked for each in its own mode', async (t, api) => {
  const resources = [{ resource_name: 'company', mode: 'shared' }, { resource_name: 'user' }]
  t.match(await api.post('/locks/request-many', { resources, process_id: 'p' }), {
    status: 200, body: { data: { locks: [{ resource_name: 'company', mode: 'shared' }, { resource_name: 'user', mode: undefined }] } }
  })
  t.match(await api.post('/locks/request-many', { resource_names: ['company', 'else'], mode: 'shared', process_id: 'q' }), { status: 200 })
  t.match(await api.post('/locks/request-many', { resources, process_id: 'r' }), { status: 409, body: { resource_name: 'user' } })
})

onEachDatabase('what contradicts itself is refused, and nothing is changed', async (t, api) => {
  const bad: [url: string, body: object, loc: (string | number)[]][] = [
    ['/locks/request', { ...a, mode: 'exclusive', limit: 2 }, ['body', 'limit']],
    ['/locks/request', { ...a, permits: 2 }, ['body', 'permits']],
    ['/locks/request', { ...a, mode: 'shared', permits: 1 }, ['body', 'permits']],
    ['/locks/request', { ...a, limit: 2, permits: 3 }, ['body', 'permits']],
    ['/locks/request', { ...a, limit: 0 }, ['body', 'limit']],
    ['/locks/request', { ...a, limit: 100_001 }, ['body', 'limit']],
    ['/locks/request', { ...a, limit: 1.5 }, ['body', 'limit']],
    ['/locks/request', { ...a, limit: 2, steal: true }, ['body', 'steal']],
    ['/locks/request', { ...a, mode: 'read' }, ['body', 'mode']],
    ['/locks/request-many', {}, ['body', 'resource_names']],
    ['/locks/request-many', { resource_names: ['a'], resources: [a] }, ['body', 'resources']],
    ['/locks/request-many', { resources: [a], mode: 'shared' }, ['body', 'mode']],
    ['/locks/request-many', { resources: [a, a] }, ['body', 'resources']],
    ['/locks/request-many', { resources: [{ ...a, limit: 1, permits: 2 }] }, ['body', 'resources', 0, 'permits']],
    ['/locks/convert', { ...a }, ['body', 'mode']],
    ['/locks/convert', { ...a, mode: 'exclusive', limit: 2 }, ['body', 'limit']]
  ]
  for (const [url, body, loc] of bad) {
    t.match(await api.post(url, { process_id: 'p', ...body }), { status: 422, body: { code: 'INVALID_REQUEST', detail: [{ loc }] } }, JSON.stringify(body))
  }
  t.match(await api.get('/locks/stats'), { body: { data: { held: 0 } } })
})

onEachDatabase('status, list, queue and history tell of each share', async (t, api) => {
  await api.post('/locks/request', { ...a, process_id: 'p', limit: 5, ttl_seconds: 60 })
  await api.post('/locks/request', { ...a, process_id: 'q', limit: 4, permits: 2, ttl_seconds: 30 })
  t.match(await api.get('/locks/status', a), {
    body: { data: { is_locked: true, locked_by: 'p', remaining_seconds: 60, mode: 'shared', limit: 4, used: 3, total_holders: 2, holders: [{ process_id: 'p', slots: [1] }, { process_id: 'q', slots: [2, 3] }] } }
  })
  const first = await api.get<{ data: { next_cursor: string } }>('/locks/all-locked', { limit: 1 })
  t.match(first, { body: { data: { total_locks: 2, locks: [{ process_id: 'p' }] } } })
  t.match(await api.get('/locks/all-locked', { limit: 1, cursor: first.body.data.next_cursor }), { body: { data: { locks: [{ process_id: 'q' }], next_cursor: null } } })
  await api.post('/locks/request', { ...a, process_id: 'w', wait_seconds: 0.05, request_id: 'w' })
  t.match(await api.get('/locks/queue', a), { body: { data: { waiters: [{ process_id: 'w', mode: 'exclusive', limit: null, permits: null }] } } })
  t.match(await api.get('/locks/history', a), { body: { data: { events: [{ event: 'granted', process_id: 'q' }, { event: 'granted', process_id: 'p' }] } } })
  t.match(await api.get('/locks/stats'), { body: { data: { held: 2, held_shared: 2, grants: 2 } } })
})

onEachDatabase('a lock is made a share and exclusive again', async (t, api) => {
  const mine = { ...a, process_id: 'p' }
  const made = await api.post<{ data: { lock_id: number } }>('/locks/request', mine)
  const { lock_id } = made.body.data
  t.match(await api.post('/locks/convert', { ...mine, lock_id, mode: 'shared' }), { status: 200, body: { message: "Lock converted successfully for resource 'a'", data: { lock_id, mode: 'shared' } } })
  await api.post('/locks/request', { ...a, process_id: 'q', mode: 'shared' })
  t.match(await api.post('/locks/convert', { ...mine, mode: 'exclusive' }), { status: 409, body: { code: 'RESOURCE_LOCKED', locked_by: 'q', holders: 2 } })
  await api.delete('/locks/release', { ...a, process_id: 'q' })
  const exclusive = await api.post<{ data: { lock_id: number } }>('/locks/convert', { ...mine, mode: 'exclusive' })
  t.ok(exclusive.body.data.lock_id > lock_id)
  t.match(await api.post('/locks/convert', { ...a, process_id: 'q', mode: 'shared' }), { status: 404, body: { code: 'LOCK_NOT_HELD', reason: 'held_by_other' } })
  const { body } = await api.get<{ data: { events: { event: string }[] } }>('/locks/history', a)
  t.strictSame(body.data.events.map(({ event }) => event).toReversed(), ['granted', 'converted', 'granted', 'released', 'released', 'granted'])
})

onEachDatabase('force-release takes one share or all of them, and release-all those of a process', async (t, api) => {
  for (const process_id of ['p', 'q', 'r']) await api.post('/locks/request', { ...a, process_id, mode: 'shared' })
  await api.post('/locks/request', { resource_name: 'b', process_id: 'r' })
  const { body } = await api.get<{ data: { holders: { lock_id: number }[] } }>('/locks/status', a)
  const lock_id = body.data.holders[0]?.lock_id
  t.match(await api.post('/locks/force-release', { ...a, reason: 'why', lock_id }), { status: 200, body: { data: { process_id: 'p', mode: 'shared', released: [{ process_id: 'p' }] } } })
  t.match(await api.post('/locks/force-release', { ...a, reason: 'why', lock_id }), { status: 409, body: { code: 'LOCK_CHANGED' } })
  t.match(await api.delete('/locks/release-all', { process_id: 'r' }), { body: { data: { total_released: 2, locks: [{ resource_name: 'a' }, { resource_name: 'b' }] } } })
  await api.post('/locks/request', { ...a, process_id: 'r', mode: 'shared' })
  t.match(await api.post('/locks/force-release', { ...a, reason: 'why' }), { status: 200, body: { data: { released: [{ process_id: 'q' }, { process_id: 'r' }] } } })
  for (const process_id of ['p', 'q']) await api.post('/locks/request', { ...a, process_id, mode: 'shared' })
  t.match(await api.post('/locks/force-release-all', { reason: 'why' }), { body: { data: { total_released: 2 } } })
  t.match(await api.get('/locks/status', a), { body: { data: { is_locked: false } } })
})
