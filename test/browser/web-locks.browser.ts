import { resolve } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { PARTS } from '../support/web-locks-scenario.js'
import { launchBrowser, openPage, startService } from './support.js'

const SCRIPT = `
  import { HttpLocks, WebLocks } from './src/client/index.js'
  import { PARTS } from './test/support/web-locks-scenario.js'
  const managers = { browser: navigator.locks, service: new WebLocks(new HttpLocks({ url: location.origin })) }
  globalThis.traceOf = async (name, index) => {
    const trace = []
    await PARTS[index].run(managers[name], (line) => trace.push(line))
    return trace
  }
`

declare const traceOf: (name: string, index: number) => Promise<string[]>

void t.test('in a page, navigator.locks and WebLocks leave the same traces', async (t) => {
  await using service = await startService()
  await using browser = await launchBrowser()
  const origin = `http://127.0.0.1:${service.port}`
  const { outputFiles } = await build({ stdin: { contents: SCRIPT, resolveDir: resolve('.'), loader: 'ts' }, bundle: true, format: 'esm', platform: 'browser', write: false })
  const body = `<!doctype html><meta charset="utf-8"><script type="module">${outputFiles[0]?.text ?? ''}</script>`
  await using opened = await openPage(browser, origin, '/locks.html', {
    prepare: (page) => page.route(`${origin}/locks.html`, (route) => route.fulfill({ contentType: 'text/html', body }))
  })
  for (const [index, { title, trace }] of PARTS.entries()) {
    await t.test(title, async (t) => {
      const traces = await opened.page.evaluate(async (at) => ({ browser: await traceOf('browser', at), service: await traceOf('service', at) }), index)
      t.strictSame(traces, { browser: trace, service: trace })
    })
  }
})
