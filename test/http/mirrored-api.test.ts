import { onEachDatabase } from '../support/app.js'

const request = { resource_name: 'test_resource', process_id: 'test_process_123', ttl_seconds: 60 }
const named = { resource_name: 'test_resource' }
const LOCKED_AT = '2024-01-15T10:30:00.000+00:00'

onEachDatabase('the six steps of the mirrored script', async (t, api) => {
  const health = await api.get('/health')
  t.equal(health.status, 200)
  t.strictSame(health.body, { status: 'healthy', service: 'Resource Lock Manager', database: 'connected' })

  const acquired = await api.post('/locks/request', request)
  t.equal(acquired.status, 200)
  t.strictSame(acquired.body, {
    success: true,
    message: "Lock acquired successfully for resource 'test_resource'",
    data: {
      lock_id: 1,
      fencing_token: 1,
      resource_name: 'test_resource',
      process_id: 'test_process_123',
      locked_at: LOCKED_AT,
      expires_at: '2024-01-15T10:31:00.000+00:00',
      metadata: null
    }
  })

  const status = await api.get('/locks/status', named)
  t.equal(status.status, 200)
  t.strictSame(status.body, {
    success: true,
    message: "Resource 'test_resource' status retrieved successfully",
    data: {
      resource_name: 'test_resource',
      is_locked: true,
      locked_by: 'test_process_123',
      locked_at: LOCKED_AT,
      expires_at: '2024-01-15T10:31:00.000+00:00',
      lock_id: 1,
      fencing_token: 1,
      remaining_seconds: 60,
      metadata: null,
      waiters: 0
    }
  })

  const again = await api.post('/locks/request', { ...named, process_id: 'different_process' })
  t.equal(again.status, 409)
  t.match(again.body, { detail: "Resource 'test_resource' is already locked by process 'test_process_123'" })

  const all = await api.get('/locks/all-locked')
  t.equal(all.status, 200)
  t.strictSame(all.body, {
    success: true,
    message: 'Retrieved 1 active locks',
    data: {
      total_locks: 1,
      as_of: '2024-01-15T10:30:00.000+00:00',
      locks: [
        {
          id: 1,
          lock_id: 1,
          fencing_token: 1,
          resource_name: 'test_resource',
          process_id: 'test_process_123',
          locked_at: LOCKED_AT,
          expires_at: '2024-01-15T10:31:00.000+00:00',
          metadata: null,
          ttl_seconds: 60,
          renewals: 0,
          waiters: 0
        }
      ],
      next_cursor: null
    }
  })

  await api.advance(12_345)
  const released = await api.delete('/locks/release', { ...named, process_id: 'test_process_123' })
  t.equal(released.status, 200)
  t.strictSame(released.body, {
    success: true,
    message: "Lock released successfully for resource 'test_resource'",
    data: { resource_name: 'test_resource', process_id: 'test_process_123', released_at: '2024-01-15T10:30:12.345+00:00' }
  })
})

onEachDatabase('scenario 1: a basic lock and release', async (t, api) => {
  const named = { resource_name: 'database_backup' }
  t.match(await api.post('/locks/request', { ...named, process_id: 'process_123' }), { status: 200 })
  t.match(await api.get('/locks/status', named), { body: { data: { is_locked: true, locked_by: 'process_123' } } })
  t.match(await api.post('/locks/request', { ...named, process_id: 'other' }), { status: 409 })
  t.match(await api.delete('/locks/release', { ...named, process_id: 'process_123' }), { status: 200 })
  const free = await api.get('/locks/status', named)
  t.equal(free.status, 200)
  t.strictSame(free.body, {
    success: true,
    message: "Resource 'database_backup' is not locked",
    data: {
      resource_name: 'database_backup',
      is_locked: false,
      locked_by: null,
      locked_at: null,
      expires_at: null,
      lock_id: null,
      fencing_token: null,
      remaining_seconds: null,
      metadata: null,
      waiters: 0
    }
  })
  t.match(await api.post('/locks/request', { ...named, process_id: 'other' }), { status: 200 }, 'a released name can be locked again')
})

onEachDatabase('scenario 2: a lock ends with its TTL', async (t, api) => {
  t.match(await api.post('/locks/request', { ...named, process_id: 'first', ttl_seconds: 5 }), { status: 200 })
  await api.advance(4999)
  t.match(await api.post('/locks/request', { ...named, process_id: 'second' }), { status: 409 }, 'held to the last millisecond')
  await api.advance(1001)
  t.match(await api.get('/locks/status', named), { body: { data: { is_locked: false, locked_by: null } } })
  t.match(await api.get('/locks/all-locked'), { body: { message: 'Retrieved 0 active locks', data: { total_locks: 0, locks: [] } } })
  t.match(await api.post('/locks/request', { ...named, process_id: 'second' }), {
    status: 200,
    body: { data: { process_id: 'second', locked_at: '2024-01-15T10:30:06.000+00:00' } }
  })
})

onEachDatabase('scenario 3: several resources', async (t, api) => {
  for (const name of ['a', 'b', 'c']) t.match(await api.post('/locks/request', { resource_name: name, process_id: `by-${name}` }), { status: 200 })
  t.match(await api.get('/locks/all-locked'), { body: { message: 'Retrieved 3 active locks', data: { total_locks: 3 } } })
  t.match(await api.delete('/locks/release', { resource_name: 'b', process_id: 'by-b' }), { status: 200 })
  t.match(await api.get('/locks/all-locked'), {
    body: { data: { total_locks: 2, locks: [{ id: 1, resource_name: 'a' }, { id: 3, resource_name: 'c', process_id: 'by-c', expires_at: null }] } }
  })
})

onEachDatabase('the holder itself is refused too, and its lock stays as it was', async (t, api) => {
  await api.post('/locks/request', request)
  const before = await api.contents()
  await api.advance(1000)
  const refused = await api.post('/locks/request', { ...request, ttl_seconds: 3600 })
  t.equal(refused.status, 409)
  t.match(refused.body, { detail: "Resource 'test_resource' is already locked by process 'test_process_123'", code: 'RESOURCE_LOCKED' })
  t.strictSame((await api.contents())['resource_locks'], before['resource_locks'])
})

onEachDatabase('only a valid lock of that process can be released', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'expired', process_id: 'p', ttl_seconds: 1 })
  await api.post('/locks/request', { resource_name: 'released', process_id: 'p' })
  await api.delete('/locks/release', { resource_name: 'released', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'not owned', process_id: 'q' })
  await api.advance(1000)
  for (const name of ['unknown', 'expired', 'released', 'not owned']) {
    const refused = await api.delete('/locks/release', { resource_name: name, process_id: 'p' })
    t.equal(refused.status, 404, name)
    t.match(refused.body, { detail: `No active lock found for resource '${name}' by process 'p'`, code: 'LOCK_NOT_HELD' })
  }
  t.match(await api.get('/locks/status', { resource_name: 'not owned' }), { body: { data: { locked_by: 'q' } } })
})

onEachDatabase('a TTL that is left out or null never ends', async (t, api) => {
  t.match(await api.post('/locks/request', { resource_name: 'a', process_id: 'p' }), { status: 200, body: { data: { expires_at: null } } })
  t.match(await api.post('/locks/request', { resource_name: 'b', process_id: 'p', ttl_seconds: null }), { status: 200, body: { data: { expires_at: null } } })
  await api.advance(100 * 365 * 86_400_000)
  t.match(await api.get('/locks/all-locked'), { body: { data: { total_locks: 2 } } })
})

onEachDatabase('names may hold spaces, slashes, quotes, query characters and any Unicode', async (t, api) => {
  const names = ['two words', 'a/b\\c', `'single' "double"`, '&=?#+%', '%41', 'ü ß', '日本語', 'مرحبا', '😀👩‍👩‍👧', '\u{10fffd}', 'null', '; --', '${x}']
  for (const name of names) {
    const both = { resource_name: name, process_id: name }
    t.match(await api.post('/locks/request', both), { status: 200, body: { message: `Lock acquired successfully for resource '${name}'`, data: both } }, name)
    t.match(await api.get('/locks/status', { resource_name: name }), { body: { data: { ...both, process_id: undefined, locked_by: name } } }, name)
    t.match(await api.post('/locks/request', both), { status: 409, body: { detail: `Resource '${name}' is already locked by process '${name}'` } }, name)
  }
  t.match(await api.get('/locks/all-locked'), { body: { data: { total_locks: names.length } } })
  for (const name of names) t.match(await api.delete('/locks/release', { resource_name: name, process_id: name }), { status: 200 }, name)
})

onEachDatabase('a plus sign in a query stands for a space', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'two words', process_id: 'p q' })
  t.match(await api.send({ method: 'GET', url: '/locks/status?resource_name=two+words' }), { body: { data: { is_locked: true } } })
  t.match(await api.send({ method: 'DELETE', url: '/locks/release?resource_name=two+words&process_id=p%20q' }), { status: 200 })
})

onEachDatabase('the document and its pages are there, and load nothing from elsewhere', async (t, api) => {
  t.match(await api.get('/openapi.json'), { status: 200, body: { openapi: '3.1.0' } })
  for (const page of ['/docs', '/redoc']) {
    const { status, headers, body } = await api.get<string>(page)
    t.equal(status, 200, page)
    t.match(headers, { 'content-type': /^text\/html/, 'content-security-policy': "default-src 'none'" }, page)
    t.notMatch(headers, { 'content-security-policy': /upgrade-insecure-requests/ }, page)
    t.notMatch(body, /(?:src|href)="(?:https?:)?\/\//, page)
  }
})

onEachDatabase('a path that nobody serves is 404', async (t, api) => {
  for (const url of ['/', '/locks', '/locks/request/', '/locks/nothing', '/%ff', '/a%00', '/../etc/passwd']) {
    const answer = await api.send({ method: 'GET', url })
    t.equal(answer.status, 404, url)
    t.strictSame(answer.body, { detail: 'Not Found', code: 'NOT_FOUND' }, url)
  }
})
