import { request } from 'node:http'
import t from 'tap'
import { knownHosts } from '../../src/http/gate.js'
import { TestApp } from '../support/app.js'
import { Service } from '../support/service.js'

const OWN = ['127.0.0.1', '127.0.0.1:8000', '10.1.2.3:80', '[::1]', '[::1]:8000', 'localhost', 'LOCALHOST:8000', 'localhost.', 'app.localhost:1']
const FOREIGN = ['evil.example', 'evil.example:8000', 'localhost.evil.example', '127.0.0.1.evil.example', 'notlocalhost', '', ':80', '[evil]', '127.0.0.1@evil.example', '1.2.3', '[::1', 'a b']

void t.test('addresses and localhost are known, other names only if they are listed', (t) => {
  const isKnown = knownHosts(['Locks.example.com'])
  for (const turn of ['first', 'remembered']) {
    for (const host of [...OWN, 'locks.example.com', 'LOCKS.example.com:443', undefined]) t.equal(isKnown(host), true, `${host}, ${turn}`)
    for (const host of [...FOREIGN, 'example.com', 'x.locks.example.com']) t.equal(isKnown(host), false, `${host}, ${turn}`)
  }
  for (let number = 0; number < 1000; number += 1) t.equal(isKnown(`10.0.${number >> 8}.${number % 256}`), true)
  t.equal(isKnown('evil.example'), false, 'however many are remembered')
  t.end()
})

void t.test('a request under a foreign name is refused, whatever it asks for, and changes nothing', async (t) => {
  await using api = await TestApp.open('sqlite', { hosts: [], corsOrigins: ['*'] })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const before = await api.contents()
  const headers = { host: 'evil.example' }
  const calls = [
    { method: 'GET', url: '/locks/all-locked' },
    { method: 'GET', url: '/docs' },
    { method: 'GET', url: '/health' },
    { method: 'GET', url: '/nowhere' },
    { method: 'GET', url: '/%' },
    { method: 'OPTIONS', url: '/locks/request' },
    { method: 'POST', url: '/locks/request', payload: { resource_name: 'b', process_id: 'p' } },
    { method: 'POST', url: '/locks/force-release-all', payload: { reason: 'r' } },
    { method: 'DELETE', url: '/locks/release?resource_name=a&process_id=p' }
  ] as const
  for (const call of calls) {
    const answer = await api.send({ ...call, headers })
    t.match(answer, { status: 421, body: { code: 'UNKNOWN_HOST', detail: /ALLOWED_HOSTS/ } }, `${call.method} ${call.url}`)
    t.notMatch(JSON.stringify(answer), 'evil')
  }
  t.strictSame(await api.contents(), before)
  t.match(await api.send({ url: '/%', headers: { host: 'localhost' } }), { status: 404 }, 'a path that cannot be decoded is still only unknown')
})

void t.test('on loopback the service knows its own names and those it is given', async (t) => {
  for (const [settings, host, status] of [
    [{}, 'evil.example', 421],
    [{}, 'localhost', 200],
    [{ ALLOWED_HOSTS: 'locks.example.com' }, 'locks.example.com', 200],
    [{ HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true' }, 'evil.example', 200],
    [{ HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true', ALLOWED_HOSTS: 'locks.example.com' }, 'evil.example', 421]
  ] as const) {
    await using service = await Service.start({ settings })
    const answered = await new Promise<number | undefined>((resolve, reject) => {
      request({ host: '127.0.0.1', port: service.port, path: '/livez', headers: { host } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
    t.equal(answered, status, JSON.stringify([settings, host]))
  }
})
