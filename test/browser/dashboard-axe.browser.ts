import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import { Service } from '../support/service.js'
import { openDashboard, rowOf, serviceWithKeys, takeMany } from './dashboard-support.js'
import { launchBrowser } from './support.js'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const WIDTHS = [1440, 390]

/** What axe finds on the page, in light and dark, wide and narrow, as one line for each fault. */
async function faultsOf(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  const faults: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of WIDTHS) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize({ width, height: 900 })
      const { violations } = await page.evaluate<AxeResults>('axe.run()')
      for (const { id, nodes } of violations) faults.push(`${colorScheme} ${width}: ${id} ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`)
    }
  }
  return faults
}

void t.test('axe finds nothing', async (t) => {
  await using browser = await launchBrowser()
  await using service = await Service.start()

  await t.test('with no lock, with three and a shared one, with five hundred, and with some picked', async (t) => {
    await using opened = await openDashboard(browser, service, '', { bypassCSP: true })
    const { page } = opened
    await page.locator('.empty').waitFor()
    t.strictSame(await faultsOf(page), [], 'no lock')
    await service.request('alone', 'p')
    await service.request('deploy/production', 'ci', { ttl_seconds: 3600, metadata: { ticket: 'OPS-1' } })
    const waiting = service.request('deploy/production', 'ci-2', { wait_seconds: 60 })
    await service.request('deploy/staging', 'ci', { ttl_seconds: 3600 })
    await rowOf(page, 'deploy/production').locator('.waiters b').waitFor()
    await rowOf(page, 'alone').getByText('no end').waitFor()
    for (const reader of ['a', 'b']) await service.request('deploy/slots', reader, { limit: 3, ttl_seconds: 3600, metadata: { by: reader } })
    await rowOf(page, 'deploy/slots').getByRole('button', { name: 'Holders of deploy/slots' }).click()
    await page.locator('.row.within').nth(1).waitFor()
    t.strictSame(await faultsOf(page), [], 'three locks and two shares')
    await takeMany(service, 495, (index) => `group-${index % 9}/${index}`)
    await page.locator('.total', { hasText: '500 locks' }).waitFor()
    await page.locator('.row.lock').first().getByRole('checkbox').check()
    t.strictSame(await faultsOf(page), [], 'five hundred, one picked')
    await page.goto(`${service.url}/dashboard?resource=deploy%2Fproduction`)
    await page.locator('.history li').first().waitFor()
    t.strictSame(await faultsOf(page), [], 'the page of a resource')
    await page.goto(`${service.url}/dashboard?resource=deploy%2Fslots`)
    await page.locator('.holders li').nth(1).waitFor()
    t.strictSame(await faultsOf(page), [], 'the page of a shared one')
    await page.getByRole('button', { name: 'Force release a …' }).click()
    t.strictSame(await faultsOf(page), [], 'a dialog')
    await service.call('POST', '/locks/force-release-all', { reason: 'end' })
    await waiting
  })

  await t.test('when the service is gone, and when it refuses the key', async (t) => {
    await using stale = await openDashboard(browser, service, '', { bypassCSP: true })
    await service.request('a/stale one', 'p', { ttl_seconds: 3600 })
    await rowOf(stale.page, 'a/stale one').waitFor()
    await service.kill()
    await stale.page.getByText('Connection lost.').waitFor()
    t.strictSame(await faultsOf(stale.page), [], 'stale')
    await using closed = await serviceWithKeys({ scopes: ['read'] })
    const page = await browser.newPage({ bypassCSP: true })
    await page.goto(`${closed.service.url}/dashboard`)
    await page.getByRole('dialog').waitFor()
    t.strictSame(await faultsOf(page), [], 'refused, with the question for a key')
    await page.keyboard.press('Escape')
    await page.getByText('No access.').waitFor()
    t.strictSame(await faultsOf(page), [], 'refused')
  })
})
