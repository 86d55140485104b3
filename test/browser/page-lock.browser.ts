import { resolve } from 'node:path'
import { build } from 'esbuild'
import type { BrowserContext, Page } from 'playwright-core'
import t from 'tap'
import { HttpLocks, type HeldLock } from '../../src/client/index.js'
import { eventually, PATIENCE_MS } from '../support/eventually.js'
import { launchBrowser, startService } from './support.js'

/** What the page under test keeps at hand; its script is the bundled client. */
interface Editor {
  readonly edit: (user: string, ttlSeconds?: number) => Promise<string>
  lock?: HeldLock
}

const SCRIPT = `
  import { HttpLocks, lockDocument } from './src/client/index.js'
  const locks = new HttpLocks({ url: location.origin })
  globalThis.editor = {
    edit: (userId, ttlSeconds) =>
      lockDocument(locks, '7', { userId, username: userId + '’s name', ttlSeconds }).then(
        (lock) => ((editor.lock = lock), 'editing'),
        (error) => error.name + ' ' + error.conflict?.lockedBy
      )
  }
`

/** The client as a page loads it: one file that asks for nothing else. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: SCRIPT, resolveDir: resolve('.'), loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false
  })
  return outputFiles[0]?.text ?? ''
}

void t.test('a document that is edited in a page', async (t) => {
  await using service = await startService()
  await using browser = await launchBrowser()
  const origin = `http://127.0.0.1:${service.port}`
  const locks = new HttpLocks({ url: origin })
  const script = await bundle()
  // One for all: what a page has sent while it was closed would end with a context of its own.
  const context = await browser.newContext()
  const status = () => locks.status('doc-lock:7')

  await t.test('is locked, refused to others, kept alive, and let go when the page is left', async (t) => {
    const { page } = await openEditor(context, origin, script)
    const other = await openEditor(context, origin, script)
    t.equal(await edit(page, 'ann', 6), 'editing')
    t.match(await status(), { isLocked: true, lockedBy: 'ann', metadata: { username: 'ann’s name' } })
    t.equal(await edit(other.page, 'bob'), 'LockNotAcquiredError ann')
    const seen = await eventually('two heartbeats', async () => {
      const { renewals } = await locks.stats()
      return renewals >= 2 ? renewals : undefined
    })
    t.ok(seen >= 2)
    t.match(await page.evaluate(() => (globalThis as unknown as { editor: Editor }).editor.lock?.held), true)

    await page.goto('about:blank')
    await eventually('the release', async () => ((await status()).isLocked ? undefined : true))
    t.equal(await edit(other.page, 'bob'), 'editing')
    await closeAsUser(other.page)
    await eventually('the release of a page that was closed', async () => ((await status()).isLocked ? undefined : true))
    await closeAsUser(page)
  })

  await t.test('is locked anew by a page that is loaded again', async (t) => {
    const { page } = await openEditor(context, origin, script)
    for (let round = 1; round <= 5; round += 1) {
      t.equal(await edit(page, 'ann'), 'editing', `round ${round}`)
      await page.reload()
    }
    await closeAsUser(page)
  })

  await t.test('fires the signal of its page when it is force-released', async (t) => {
    const { page } = await openEditor(context, origin, script)
    t.equal(await edit(page, 'ann', 60), 'editing')
    const loss = page.evaluate(
      () =>
        new Promise((resolve) => {
          const { lock } = (globalThis as unknown as { editor: Editor }).editor
          const tell = (): void => resolve(String(lock?.signal.reason))
          if (lock?.signal.aborted === true) tell()
          else lock?.signal.addEventListener('abort', tell)
        })
    )
    t.equal((await locks.forceRelease('doc-lock:7', 'a test')).kind, 'released')
    t.match(await loss, /LockLostError: Lock \d+ of resource 'doc-lock:7' is lost/)
    await closeAsUser(page)
  })
})

/** A page of the service's own origin, with nothing but the script in it. */
async function openEditor(context: BrowserContext, origin: string, script: string): Promise<{ readonly page: Page }> {
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  await page.route(`${origin}/editor`, (route) =>
    route.fulfill({ contentType: 'text/html', body: `<!doctype html><meta charset="utf-8"><script type="module">${script}</script>` })
  )
  await page.goto(`${origin}/editor`)
  return { page }
}

/** Closing by the protocol alone would end the page without telling it. */
async function closeAsUser(page: Page): Promise<void> {
  await page.close({ runBeforeUnload: true })
}

function edit(page: Page, user: string, ttlSeconds?: number): Promise<string> {
  return page.evaluate(([user, ttlSeconds]) => (globalThis as unknown as { editor: Editor }).editor.edit(user, ttlSeconds), [user, ttlSeconds] as const)
}
