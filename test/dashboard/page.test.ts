import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { MODULES, readAssets } from '../../src/dashboard/assets.js'
import { TestApp } from '../support/app.js'
import { inProject } from '../support/program.js'

void t.test('the page is served without a key, and all that it names with it', async (t) => {
  await using api = await TestApp.open('sqlite')
  const page = await api.get<string>('/dashboard')
  t.match(page, { status: 200, headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' } })
  const addresses = [...page.body.matchAll(/(?:href|src)="\.(\/[^"]+)"/g)].map(([, address = '']) => address)
  t.ok(addresses.length > 40)
  for (const address of addresses) {
    const { status, headers } = await api.get(address)
    t.equal(status, 200, address)
    t.match(headers, { 'cache-control': /immutable/, 'x-content-type-options': 'nosniff', 'content-type': /^(?:text\/(?:javascript|css); charset=utf-8|image\/svg\+xml)$/ })
  }
  t.match(await api.get('/dashboard/'), { status: 302, headers: { location: '../dashboard' } })
  t.match(await api.get('/dashboard/none/main.js'), { status: 404, body: { code: 'NOT_FOUND' } })
})

void t.test('its policy names the one script that stands in the page, and nothing from elsewhere', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body, headers } = await api.get<string>('/dashboard')
  const inline = [...body.matchAll(/<script type="importmap">(.*?)<\/script>/g)].map(([, text = '']) => createHash('sha256').update(text).digest('base64'))
  t.equal(inline.length, 1)
  const policy = String(headers['content-security-policy'])
  t.match(policy, `script-src 'self' 'sha256-${inline[0]}';`)
  t.match(policy, "default-src 'none'")
  t.match(policy, "require-trusted-types-for 'script'")
  t.notMatch(policy, /unsafe|http|\*|upgrade-insecure/)
  t.notMatch(body, /https?:\/\//, 'nothing comes from elsewhere')
})

void t.test('every module of the page is served, and imports only its like', async (t) => {
  const folder = inProject('src/dashboard/page')
  const present = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => path.replaceAll('\\', '/').replace(/\.ts$/, ''))
  // Only types are in it.
  t.strictSame(present.filter((name) => name !== 'model/wire').toSorted(), [...MODULES].toSorted())

  const { files } = await readAssets()
  const served = new Set(files.map(({ name }) => name))
  for (const { name, content } of files.filter(({ type }) => type.startsWith('text/javascript'))) {
    for (const [, specifier = ''] of content.matchAll(/(?:^import|[;}\s]from)\s*["']([^"']+)["']/gm)) {
      const known = specifier.startsWith('.') ? served.has(new URL(specifier, `http://x/${name}`).pathname.slice(1)) : ['preact', 'preact/hooks', 'htm'].includes(specifier)
      t.ok(known, `${name} imports ${specifier}`)
    }
    t.notMatch(content, 'sourceMappingURL')
  }
})

void t.test('the folder of the files has one name as long as they are the same', async (t) => {
  const [once, again] = await Promise.all([readAssets(), readAssets()])
  t.match(once.folder, /^[0-9a-f]{16}$/)
  t.equal(once.folder, again.folder)
})
