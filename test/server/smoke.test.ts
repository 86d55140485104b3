import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { openKeys } from '../../src/storage/index.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { newKey } from '../support/app.js'
import { inProject } from '../support/program.js'
import { Service } from '../support/service.js'

interface Smoke {
  readonly script?: string
  readonly settings?: Readonly<Record<string, string>>
}

async function smoke(url: string, { script = 'scripts/smoke.sh', settings = {} }: Smoke = {}): Promise<{ code: unknown; said: string }> {
  const child = spawn('bash', [inProject(script), url], { env: { ...process.env, ...settings } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = (await once(child, 'close')) as unknown[]
  return { code, said }
}

for (const kind of DATABASES) {
  void t.test(`the documented walks with curl succeed on ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    await using service = await Service.start({ settings: { DATABASE_URL: database.url } })
    for (const script of ['scripts/smoke.sh', 'scripts/smoke-other-apis.sh']) {
      const { code, said } = await smoke(service.url, { script })
      t.equal(code, 0, said)
      t.match(said, /All \d+ steps answered as documented\./)
    }
  })
}

void t.test('with keys it takes one, and shows it nowhere', async (t) => {
  await using database = await freshDatabase('sqlite', 'real')
  const { secret, ...key } = newKey('smoke', { scopes: ['admin'] })
  {
    await using opened = await openKeys(database.url)
    await opened.keys.create(key)
  }
  await using service = await Service.start({ settings: { DATABASE_URL: database.url, LOG_LEVEL: 'debug' } })
  t.match(await smoke(service.url), { code: 1, said: /answered 401/ })
  const { code, said } = await smoke(service.url, { settings: { RLM_API_KEY: secret } })
  t.equal(code, 0, said)
  for (const text of [said, service.stdout, service.stderr]) t.notOk(text.includes(secret))
})

void t.test('the walk fails where nobody answers, and where the answer is another one', async (t) => {
  t.match(await smoke('http://127.0.0.1:1'), { code: 1, said: /FAILED: no answer/ })
  const other = createServer((_request, response) => response.end('{"status":"fine"}')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.match(await smoke(`http://127.0.0.1:${(other.address() as AddressInfo).port}`), { code: 1, said: /FAILED: expected 200/ })
  other.close()
})
