import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { rlmHere } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 4
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())

/** A server at the URL of the service that is none. */
async function pretender(listener: RequestListener): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
}

const LOOKS = [['status', 'x'], ['ls'], ['history'], ['release', 'x', '--process', 'p'], ['force-release', 'x', '--reason', 'r'], ['doctor']] as const

/** Left to itself a request would wait for its answer for five minutes; the documented times are a small part of that. */
const LONGEST_MS = 120_000

for (const args of [...LOOKS, ['run', 'x', '--no-wait', '--', 'true']]) {
  void t.test(`a service that hangs is given up: ${args[0]}`, async (t) => {
    await using hung = await pretender(() => undefined)
    const start = performance.now()
    const { code, stdout, stderr } = await rlmHere(args, { url: hung.url })
    t.equal(code, 69)
    t.match(stdout + stderr, /did not answer/)
    const tookMs = performance.now() - start
    t.ok(tookMs < LONGEST_MS, `${Math.round(tookMs)} ms`)
  })
}

void t.test('a URL with a wrong path, or one that leads elsewhere, is named', async (t) => {
  const wrong = `${service.url}/somewhere`
  for (const args of [['status', 'x'], ['run', 'x', '--no-wait', '--', 'true']]) {
    const { code, stderr } = await rlmHere(args, { url: wrong })
    t.equal(code, 64, stderr)
    t.match(stderr, `rlm: RLM_URL is '${wrong}'`)
  }
  await using elsewhere = await pretender((request, response) => void response.writeHead(302, { location: service.url + String(request.url) }).end())
  const { code, stderr } = await rlmHere(['run', 'x', '--no-wait', '--', 'true'], { url: elsewhere.url })
  t.ok(code === 64 || code === 69, `${code}: ${stderr}`)
  t.match(stderr, elsewhere.url)
})
