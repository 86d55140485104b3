import { build } from 'esbuild'
import t from 'tap'
import { TestApp } from '../support/app.js'

const ADDRESSES = /(?:href|src)="\.(\/[^"]+)"/g

void t.test('the page is served without a key, and all that it names with it', async (t) => {
  await using api = await TestApp.open('sqlite')
  const page = await api.get<string>('/dashboard')
  t.match(page, { status: 200, headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' } })
  const addresses = [...page.body.matchAll(ADDRESSES)].map(([, address = '']) => address)
  t.match(addresses, [/icon\.svg$/, /style\.css$/, /main\.js$/])
  for (const address of addresses) {
    const { status, headers } = await api.get(address)
    t.equal(status, 200, address)
    t.match(headers, { 'cache-control': /immutable/, 'x-content-type-options': 'nosniff', 'content-type': /^(?:text\/(?:javascript|css); charset=utf-8|image\/svg\+xml)$/ })
  }
  t.match(await api.get('/dashboard/'), { status: 302, headers: { location: '../dashboard' } })
  t.match(await api.get('/dashboard/none/main.js'), { status: 404, body: { code: 'NOT_FOUND' } })
})

void t.test('its policy allows the files of the service and nothing else, and no script stands in the page', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body, headers } = await api.get<string>('/dashboard')
  const policy = String(headers['content-security-policy'])
  t.match(policy, "default-src 'none'; script-src 'self';")
  t.match(policy, "require-trusted-types-for 'script'")
  t.notMatch(policy, /unsafe|http|\*|upgrade-insecure/)
  t.notMatch(body, /https?:\/\//, 'nothing comes from elsewhere')
  t.notMatch(body, /<script[^>]*>[^<]/)
})

void t.test('its script and its style are one file each, which load nothing else and name no source map', async (t) => {
  await using api = await TestApp.open('sqlite')
  const page = await api.get<string>('/dashboard')
  const [, style = '', script = ''] = [...page.body.matchAll(ADDRESSES)].map(([, address = '']) => address)
  const { body: code } = await api.get<string>(script)
  const { metafile } = await build({ stdin: { contents: code, loader: 'js' }, bundle: true, format: 'esm', metafile: true, write: false, external: ['*'] })
  t.strictSame(Object.values(metafile.inputs).flatMap(({ imports }) => imports), [])
  t.notMatch(code, 'sourceMappingURL')
  t.notMatch(code, /\bprocess\.|node:/, 'nothing of Node')
  t.notMatch((await api.get<string>(style)).body, /@import|url\(|sourceMappingURL/)
})

void t.test('the address of the files changes only with them', async (t) => {
  const folders = []
  for (let round = 0; round < 2; round += 1) {
    await using api = await TestApp.open('sqlite')
    folders.push(/dashboard\/([0-9a-f]{16})\/main\.js/.exec((await api.get<string>('/dashboard')).body)?.[1])
  }
  t.type(folders[0], 'string')
  t.equal(folders[0], folders[1])
})
