import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { HOST_NAME, launchBrowser, openPage, startService } from './support.js'

/** Set SCREENSHOTS to a folder to see what the tests saw. */
const screenshots = process.env['SCREENSHOTS']
const shoot = async (page: Page, name: string): Promise<void> => {
  if (screenshots !== undefined) await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true })
}

void t.test('the documentation in a browser', async (t) => {
  await using service = await startService()
  await using browser = await launchBrowser()

  for (const host of ['127.0.0.1', HOST_NAME]) {
    const origin = `http://${host}:${service.port}`

    await t.test(`/docs on ${host}: a lock is taken with "Try it out"`, async (t) => {
      await using opened = await openPage(browser, origin, '/docs')
      const { page, seen } = opened
      t.same(seen.complaints, [], 'it loads without complaint')
      t.equal(await page.title(), 'Resource Lock Manager – try it out')

      const operation = page.locator('.opblock', { has: page.locator('[data-path="/locks/request"]') })
      await operation.locator('.opblock-summary-control').click()
      await operation.getByRole('button', { name: 'Try it out' }).click()
      const resource = `taken on ${host}`
      await operation.locator('textarea').fill(JSON.stringify({ resource_name: resource, process_id: 'browser', ttl_seconds: 60 }))
      await operation.getByRole('button', { name: 'Execute' }).click()

      const answer = operation.locator('.live-responses-table .response')
      t.equal(await answer.locator('.response-col_status').first().textContent(), '200')
      t.match(await answer.locator('.response-col_description').first().textContent(), `Lock acquired successfully for resource '${resource}'`)
      await shoot(page, `docs on ${host}`)

      const status = await fetch(`http://127.0.0.1:${service.port}/locks/status?resource_name=${encodeURIComponent(resource)}`)
      t.match(await status.json(), { data: { is_locked: true, locked_by: 'browser' } })
      t.ok(seen.ownRequests.includes('/locks/request'), 'the page itself sent the request')
      t.same(seen.strayRequests, [], 'it asks nobody but the service')
      t.same(seen.complaints, [], 'it never complained')
    })

    await t.test(`/redoc on ${host}: every operation can be found and read, none can be tried`, async (t) => {
      await using opened = await openPage(browser, origin, '/redoc')
      const { page, seen } = opened
      t.equal(await page.title(), 'Resource Lock Manager – reference')
      const entries = page.locator('.nav-bar-path')
      await entries.first().waitFor()
      const listed = await entries.evaluateAll((all) => all.map((one) => one.getAttribute('data-content-id') ?? ''))
      const operations = await operationsOf(`http://127.0.0.1:${service.port}/openapi.json`)
      t.same(new Set(listed), new Set(operations.map((operation) => operation.replace(/^\w+ /, (method) => `${method.trim().toLowerCase()}-`).replaceAll(/[{}]/g, '-'))))
      t.ok((await page.evaluate(countElements)) < 5000, 'the page is light')

      await page.locator('#nav-bar-search').pressSequentially('renew-all')
      await page.keyboard.press('Enter')
      await entries.nth(1).waitFor({ state: 'detached' })
      await entries.click()
      for (const text of ['Takes the scope', 'process_id']) await page.locator(`text=${text} >> visible=true`).first().waitFor()
      t.equal(await page.getByRole('button', { name: /^try$/i }).and(page.locator(':visible')).count(), 0, 'nothing to try')
      t.equal(await page.locator('input[data-pname]:visible, .api-key-input:visible').count(), 0, 'no field to fill in')
      await shoot(page, `redoc on ${host}`)

      t.same(seen.strayRequests, [], 'it asks nobody but the service')
      t.same(seen.complaints, [], 'it never complained')
    })
  }
})

/** Every operation of an OpenAPI document as `GET /path`, sorted. */
async function operationsOf(url: string): Promise<string[]> {
  const { paths } = (await (await fetch(url)).json()) as { paths: Record<string, object> }
  return Object.entries(paths)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))
    .toSorted()
}

/** Runs in the page: all elements, with those of components. */
function countElements(): number {
  const count = (root: Document | ShadowRoot): number =>
    Array.from(root.querySelectorAll('*')).reduce((sum, { shadowRoot }) => sum + 1 + (shadowRoot === null ? 0 : count(shadowRoot)), 0)
  return count(document)
}
