import t from 'tap'
import type { LockEvent } from '../../src/client/index.js'
import { EventStreamParser } from '../../src/client/events.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { makeKey, sendWith } from '../support/app.js'

/** Collects events until the watching ends. */
function collect(events: AsyncIterable<LockEvent>): { readonly seen: string[]; readonly ended: Promise<void> } {
  const seen: string[] = []
  const ended = (async () => {
    for await (const { eventId, event, resourceName } of events) seen.push(`${eventId} ${event} ${resourceName}`)
  })()
  return { seen, ended }
}

onEachClient(t, 'a watcher sees what happens from now on, without gaps across broken connections', async (t, { locks, proxy, clock, api }) => {
  await locks.acquire('x/before', { autoRenew: false })
  const leaving = new AbortController()
  let connections = 0
  api.app.server.on('request', (request) => (connections += request.url?.startsWith('/locks/watch') === true ? 1 : 0))
  const { seen, ended } = collect(locks.watch({ prefix: 'x/', signal: leaving.signal }))
  await eventually('the connection', async () => (connections === 1 ? true : undefined))
  await api.post('/locks/request', { resource_name: 'x/1', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'y/1', process_id: 'p' })
  await eventually('the first event', async () => seen[0])
  proxy.cut()
  await api.post('/locks/request', { resource_name: 'x/2', process_id: 'p' })
  await api.delete('/locks/release', { resource_name: 'x/1', process_id: 'p' })
  await eventually('what happened meanwhile', async () => {
    clock.advance(50)
    return seen[2]
  })
  t.strictSame(seen, ['2 granted x/1', '4 granted x/2', '5 released x/1'])
  leaving.abort()
  await ended
  t.pass('the signal ends it without an error')
})

onEachClient(t, 'watching goes on where it was left, and a loop that is left closes its connection', async (t, { locks, api }) => {
  for (const name of ['a', 'b', 'c']) await locks.acquire(name, { autoRenew: false })
  const seen: number[] = []
  for await (const { eventId } of locks.watch({ after: 1 })) {
    seen.push(eventId)
    if (eventId === 3) break
  }
  t.strictSame(seen, [2, 3])
  await eventually('no connection', async () => {
    const open = await new Promise<number>((resolve) => api.app.server.getConnections((_error, count) => resolve(count)))
    return open <= 1 ? true : undefined
  })
})

onEachClient(t, 'a connection that is silent for too long counts as broken', async (t, { locks, proxy, clock, api }) => {
  const leaving = new AbortController()
  const { seen, ended } = collect(locks.watch({ signal: leaving.signal, after: 0 }))
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  await eventually('the first event', async () => seen[0])
  const held = proxy.hold('answers')
  await api.post('/locks/request', { resource_name: 'b', process_id: 'p' })
  await held
  clock.advance(45_000)
  proxy.cut()
  await eventually('the second event', async () => {
    clock.advance(50)
    return seen[1]
  })
  t.strictSame(seen, ['1 granted a', '2 granted b'])
  leaving.abort()
  await ended
})

onEachClient(t, 'events that are gone for good are said to be gone', async (t, { locks, api }) => {
  for (const name of ['a', 'b', 'c']) await api.post('/locks/request', { resource_name: name, process_id: 'p' })
  await api.advance(8 * 86_400_000)
  await api.post('/locks/request', { resource_name: 'new', process_id: 'p' })
  await api.sweep()
  await t.rejects(collect(locks.watch({ after: 1 })).ended, { name: 'LockWatchEndedError', reason: 'too_old' })
})

onEachClient(t, 'a watcher hears when its connection is open and when it breaks', async (t, { locks, proxy, clock }) => {
  const leaving = new AbortController()
  const heard: string[] = []
  const onBroken = (error: unknown): void => void heard.push(error instanceof Error ? error.name : String(error))
  const { ended } = collect(locks.watch({ signal: leaving.signal, onOpen: () => heard.push('open'), onBroken }))
  await eventually('the connection', async () => heard[0])
  proxy.cut()
  await eventually('the next one', async () => {
    clock.advance(50)
    return heard.length > 1 && heard.at(-1) === 'open' ? true : undefined
  })
  t.match(heard.join(' '), /^open(?: LockServiceUnavailableError)+ open$/)
  leaving.abort()
  await ended
})

onEachClient(t, 'a key whose resources have no history misses nothing, though the oldest events of others are gone', async (t, { clock, connect, api }) => {
  for (const name of ['a', 'b']) await api.post('/locks/request', { resource_name: name, process_id: 'p' })
  await api.advance(8 * 86_400_000)
  await api.sweep()
  const { secret } = await makeKey(api, 'team', ['read'], { prefix: 'team/' })
  const leaving = new AbortController()
  let open = false
  const { seen, ended } = collect(connect({ apiKey: secret }).watch({ signal: leaving.signal, onOpen: () => (open = true) }))
  const opened = eventually('the connection', async () => {
    clock.advance(50)
    return open ? true : undefined
  })
  await Promise.race([opened, ended])
  const writer = await makeKey(api, 'writer', ['write'])
  await sendWith(api, writer.secret, { method: 'POST', url: '/locks/request', payload: { resource_name: 'team/1', process_id: 'p' } })
  await eventually('the event', async () => seen[0])
  t.match(seen[0], /granted team\/1$/)
  leaving.abort()
  await ended
})

onEachClient(t, 'a service that is not there at first is an error', async (t, { clock, connect }) => {
  const away = connect({ url: 'http://127.0.0.1:1' })
  await t.rejects(clock.drive(collect(away.watch()).ended), { name: 'LockServiceUnavailableError' })
  await t.rejects(collect(connect().watch({ prefix: '\u0000' })).ended, { name: 'LockRequestError', status: 422 })
})

void t.test('messages are read from chunks that are cut anywhere', (t) => {
  const text = ': hello\n\nid: 7\r\nevent: granted\r\ndata: {"a":\r\ndata: "é"}\r\n\r\ndata:x\r\rid\nevent\nretry: 5\n\nother: y\ndata\n\n'
  const expected = [
    null,
    { event: 'granted', data: '{"a":\n"é"}', id: '7' },
    { event: 'message', data: 'x', id: '7' },
    { event: 'message', data: '', id: '' }
  ]
  for (let size = 1; size <= text.length; size += 1) {
    const parser = new EventStreamParser()
    const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, index) => text.slice(index * size, (index + 1) * size))
    t.strictSame(chunks.flatMap((chunk) => Array.from(parser.push(chunk))), expected, `chunks of ${size}`)
  }
  const cut = new EventStreamParser()
  t.strictSame(Array.from(cut.push('data: 1\n\ndata: 2\n')).length, 1, 'half a message is none')
  t.end()
})
