import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openKeys } from '../../src/storage/index.js'
import { newKey } from '../support/app.js'
import { HOST_NAME, launchBrowser, openPage, startService } from './support.js'

void t.test('a key in a browser: "Authorize" on /docs', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-browser-keys-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const url = `sqlite:${join(folder, 'x.db')}`
  const { secret, ...key } = newKey('browser', { scopes: ['write'] })
  {
    await using opened = await openKeys(url)
    await opened.keys.create(key)
  }
  await using service = await startService({ DATABASE_URL: url })
  await using browser = await launchBrowser()
  const origin = `http://${HOST_NAME}:${service.port}`

  await t.test('/docs', async (t) => {
    await using opened = await openPage(browser, origin, '/docs')
    const { page, seen } = opened
    t.same(seen.complaints, [], 'the page itself takes no key')
    const operation = page.locator('.opblock', { has: page.locator('[data-path="/locks/request"]') })
    await operation.locator('.authorization__btn').waitFor()
    t.equal(await operation.locator('.authorization__btn').count(), 1, 'a call that takes a key has a padlock')
    const open = page.locator('.opblock', { has: page.locator('[data-path="/livez"]') })
    await open.waitFor()
    t.equal(await open.locator('.authorization__btn').count(), 0, 'one that takes none has none')

    await page.locator('.scheme-container .authorize').click()
    const dialog = page.locator('.modal-ux')
    t.match(await dialog.textContent(), 'npm run keys -- create NAME')
    await dialog.locator('input').fill(secret)
    await dialog.locator('.auth-btn-wrapper .authorize').click()
    await dialog.locator('.btn-done').click()

    await operation.locator('.opblock-summary-control').click()
    t.match(await operation.locator('.opblock-description').textContent(), 'Takes the scope write')
    await operation.getByRole('button', { name: 'Try it out' }).click()
    await operation.locator('textarea').fill(JSON.stringify({ resource_name: 'with a key', process_id: 'browser' }))
    await operation.getByRole('button', { name: 'Execute' }).click()
    const answer = operation.locator('.live-responses-table .response')
    t.equal(await answer.locator('.response-col_status').first().textContent(), '200')
    t.notOk(page.url().includes(secret))
    t.notOk(seen.ownRequests.some((path) => path.includes(secret)), 'the key is in no address')
    t.same(seen.complaints, [], 'it never complained')
    t.same(seen.strayRequests, [], 'it asks nobody but the service')
  })
})
