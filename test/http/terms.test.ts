import { onEachDatabase } from '../support/app.js'
import { eventually } from '../support/eventually.js'

const a = { resource_name: 'a' }
const p = { ...a, process_id: 'p' }
const at = (seconds: string) => `2024-01-15T10:${seconds}+00:00`
const reason = 'worker-7 is drained'

onEachDatabase('a release may keep everybody out; who asks meanwhile is told until when', async (t, api) => {
  await api.post('/locks/request', { ...p, ttl_seconds: 600, metadata: { run: 1 } })
  t.strictSame((await api.delete('/locks/release', { ...p, keep_seconds: 90.5 })).body, {
    success: true, message: "Lock released successfully for resource 'a'", data: { ...p, released_at: at('30:00.000'), free_at: at('31:30.500') }
  })
  const kept = { locked_by: 'p', lock_id: 1, locked_at: at('30:00.000'), expires_at: at('31:30.500'), kept: true }
  t.match(await api.post('/locks/request', p), {
    status: 409, headers: { 'retry-after': '91' }, body: { detail: "Resource 'a' is kept for a while after the lock of process 'p'", code: 'RESOURCE_LOCKED', ...kept, retry_after_seconds: 90.5, waiters: 0 }
  })
  t.match(await api.post('/locks/request-many', { resource_names: ['b', 'a'], process_id: 'q' }), { status: 409, body: { conflicts: [{ resource_name: 'a', locked_by: 'p', kept: true }] } })
  t.match(await api.get('/locks/status', a), { body: { data: { is_locked: true, fencing_token: 1, remaining_seconds: 90.5, metadata: { run: 1 }, ...kept } } })
  t.match(await api.get('/locks/all-locked'), { body: { data: { total_locks: 0 } } })
  t.match(await api.delete('/locks/release', { ...p, lock_id: 1 }), { status: 404, body: { reason: 'released', released_at: at('30:00.000') } })
  t.match(await api.post('/locks/force-release', { ...a, reason }), { status: 200, body: { data: { lock_id: 1, free_at: undefined } } })
  t.match(await api.post('/locks/request', p), { status: 200 })
  t.strictSame(Object.keys(((await api.delete('/locks/release', { ...p, keep_seconds: 0 })).body as { data: object }).data), ['resource_name', 'process_id', 'released_at'])
})

onEachDatabase('a lock may be held at least for a while, and leave a delay', async (t, api) => {
  const asked = { ...p, ttl_seconds: 60, hold_at_least_seconds: 30, lock_delay_seconds: 10, request_id: 'r' }
  const granted = await api.post('/locks/request', asked)
  t.strictSame(Object.keys((granted.body as { data: object }).data), ['lock_id', 'fencing_token', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'])
  t.match(granted, { body: { data: { expires_at: at('31:00.000') } } })
  t.match(await api.post('/locks/request', asked), { status: 200, body: { data: { lock_id: 1, replayed: true } } })
  t.match(await api.post('/locks/request', { ...asked, hold_at_least_seconds: 0 }), { status: 409, body: { code: 'REQUEST_ID_REUSED' } })
  t.match(await api.get('/locks/status', a), { body: { data: { expires_at: at('31:00.000'), kept: undefined } } })
  t.match(await api.post('/locks/release-many', { resource_names: ['a'], process_id: 'p' }), { body: { data: { released: [{ free_at: at('30:30.000') }] } } })
  await api.advance(30_000)
  await api.post('/locks/request', { ...p, ttl_seconds: 60, lock_delay_seconds: 10 })
  await api.advance(60_000)
  t.match(await api.post('/locks/renew', p), { status: 404, body: { reason: 'expired' } })
  t.match(await api.post('/locks/request', p), { status: 409, body: { locked_by: 'p', kept: true, expires_at: at('31:40.000') } })
  await api.advance(10_000)
  t.match(await api.post('/locks/request-many', { resource_names: ['a', 'b'], process_id: 'q', lock_delay_seconds: 10 }), { status: 200 })
  t.match(await api.post('/locks/force-release', { ...a, reason }), { body: { data: { free_at: at('31:50.000') } } })
  t.match(await api.post('/locks/force-release', { resource_name: 'b', reason, lock_delay: false }), { body: { data: { free_at: undefined } } })
  t.match(await api.post('/locks/request', { resource_name: 'b', process_id: 'q' }), { status: 200 })
})

onEachDatabase('a holder is told that others wait, and that it is asked to end', async (t, api) => {
  await api.post('/locks/request', p)
  t.match(await api.post('/locks/renew', p), { body: { data: { waiters: 0, revoked: null, expires_at: null } } })
  const waiting = api.post('/locks/request', { ...a, process_id: 'q', wait_seconds: 60 })
  await eventually('a waiter', async () => ((await api.post<{ data: { waiters: number } }>('/locks/renew', p)).body.data.waiters === 1 ? true : undefined))
  t.match(await api.post('/locks/revoke', { ...a, reason, grace_seconds: 30, lock_id: 7 }), { status: 409, body: { code: 'LOCK_CHANGED' } })
  t.match(await api.post('/locks/revoke', { resource_name: 'b', reason, grace_seconds: 30 }), { status: 404, body: { code: 'LOCK_NOT_HELD', reason: 'not_locked' } })
  t.strictSame((await api.post('/locks/revoke', { ...a, reason, grace_seconds: 30 })).body, {
    success: true,
    message: "Lock revoked successfully for resource 'a'",
    data: { lock_id: 1, fencing_token: 1, ...p, locked_at: at('30:00.000'), expires_at: at('30:30.000'), metadata: null, revoke_at: at('30:30.000'), reason }
  })
  const told = { expires_at: at('30:30.000'), waiters: 1, revoked: { at: at('30:30.000'), reason } }
  t.match(await api.post('/locks/renew', { ...p, ttl_seconds: 600 }), { body: { data: told } })
  t.match(await api.post('/locks/renew-many', { process_id: 'p', locks: [{ ...a, ttl_seconds: 600 }] }), { body: { data: { renewed: [told] } } })
  t.match(await api.post('/locks/renew-all', { process_id: 'p' }), { body: { data: { locks: [told] } } })
  t.match(await api.get('/locks/history', { limit: 1 }), { body: { data: { events: [{ event: 'revoked', process_id: 'p', lock_id: 1, reason }] } } })
  await api.delete('/locks/release', p)
  t.match(await waiting, { status: 200, body: { data: { lock_id: 2, process_id: 'q' } } })
  t.match(await api.post('/locks/renew', { ...a, process_id: 'q' }), { body: { data: { waiters: 0, revoked: null } } })
  for (const process_id of ['r', 's']) await api.post('/locks/request', { resource_name: 'b', process_id, mode: 'shared' })
  t.match(await api.post('/locks/revoke', { resource_name: 'b', reason, grace_seconds: 0 }), { body: { data: { process_id: 'r', revoked: [{ process_id: 'r' }, { process_id: 's' }] } } })
  t.match(await api.post('/locks/request', { resource_name: 'b', process_id: 'q' }), { status: 200 })
})

onEachDatabase('a waiter is served at the end of what is kept, without the sweeper and however often it is kept', async (t, api) => {
  await api.post('/locks/request', p)
  await api.delete('/locks/release', { ...p, keep_seconds: 0.3 })
  const waiting = api.post('/locks/request', { ...a, process_id: 'q', wait_seconds: 60 })
  await eventually('a waiter', async () => ((await api.get<{ data: { total_waiters: number } }>('/locks/queue', a)).body.data.total_waiters === 1 ? true : undefined))
  await api.advance(300)
  t.match(await waiting, { status: 200, body: { data: { process_id: 'q' } } })
}, { tickMs: 60_000 })

onEachDatabase('terms that make no sense are refused', async (t, api) => {
  const bad: [url: string, body: object, field: string][] = [
    ['/locks/request', { ...p, ttl_seconds: 60, hold_at_least_seconds: 61 }, 'hold_at_least_seconds'],
    ['/locks/request', { ...p, hold_at_least_seconds: 301 }, 'hold_at_least_seconds'],
    ['/locks/request', { ...p, ttl_seconds: null, hold_at_least_seconds: 31_536_001 }, 'hold_at_least_seconds'],
    ['/locks/request', { ...p, lock_delay_seconds: 3601 }, 'lock_delay_seconds'],
    ['/locks/request', { ...p, lock_delay_seconds: -1 }, 'lock_delay_seconds'],
    ['/locks/request-many', { resource_names: ['a'], process_id: 'p', ttl_seconds: 1, hold_at_least_seconds: 2 }, 'hold_at_least_seconds'],
    ['/locks/revoke', { ...a, reason }, 'grace_seconds'],
    ['/locks/revoke', { ...a, reason, grace_seconds: -1 }, 'grace_seconds'],
    ['/locks/revoke', { ...a, grace_seconds: 1 }, 'reason'],
    ['/locks/force-release', { ...a, reason, lock_delay: 1 }, 'lock_delay']
  ]
  for (const [url, body, field] of bad) t.match(await api.post(url, body), { status: 422, body: { detail: [{ loc: ['body', field] }] } }, JSON.stringify(body))
  for (const keep_seconds of [-1, '1e3', 31_536_001, 'x']) {
    t.match(await api.delete('/locks/release', { ...p, keep_seconds }), { status: 422, body: { detail: [{ loc: ['query', 'keep_seconds'] }] } })
  }
  t.match(await api.get('/locks/all-locked'), { body: { data: { total_locks: 0 } } })
}, { defaultTtlMs: 300_000 })
