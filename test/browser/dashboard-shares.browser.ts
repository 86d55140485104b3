import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Service } from '../support/service.js'
import { openDashboard, rowOf } from './dashboard-support.js'
import { launchBrowser } from './support.js'

void t.test('shared locks on the dashboard', async (t) => {
  await using service = await Service.start({ settings: { MAX_WAIT_SECONDS: '600' } })
  await using browser = await launchBrowser()
  for (const [index, permits] of [1, 2, 1].entries()) await service.request('gpu/a100', `trainer-${index + 1}`, { limit: 4, permits, ttl_seconds: 3600 })
  await service.request('gpu/manual', 'ann', { ttl_seconds: 3600 })

  await t.test('a shared resource is one row that opens to its holders by mouse and keyboard, and follows its events', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    const row = rowOf(page, 'gpu/a100')
    const holders = page.locator('.row.within')
    await row.getByText('4 / 4').waitFor()
    t.match(await row.textContent(), /3 holders/)
    t.equal(await holders.count(), 0)
    await row.click({ position: { x: 500, y: 17 } })
    t.match(await holders.allTextContents(), [/^slot 1trainer-1/, /^slots 2–3trainer-2/, /^slot 4trainer-3/])
    for (const key of ['Home', 'j', 'Enter']) await page.keyboard.press(key)
    await holders.first().waitFor({ state: 'detached' })
    for (const key of ['Enter', 'j', 'j']) await page.keyboard.press(key)
    await service.release('gpu/a100', 'trainer-1')
    await row.getByText('3 / 4').waitFor()
    t.equal(await page.getByRole('button', { name: 'Holders of gpu/a100' }).getAttribute('aria-expanded'), 'true')
    await service.request('gpu/a100', 'trainer-4', { limit: 4, ttl_seconds: 3600 })
    await holders.filter({ hasText: 'trainer-4' }).getByText('slot 1').waitFor()
    await page.getByPlaceholder('Filter').fill('trainer-2')
    await row.getByText('1 of 3 holders').waitFor()
    t.equal(await row.getByText('4 / 4').count(), 1, 'what is used is of all')
    t.equal(await holders.count(), 0, 'it was opened before, and so is folded where some are left out')
    await row.locator('a.name').click()
    await page.locator('h2', { hasText: 'gpu/a100' }).waitFor()
    t.same(opened.seen.complaints, [])
  })

  await t.test('one share is picked and taken away, and the others stay', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    await page.getByRole('button', { name: 'Holders of gpu/a100' }).click()
    await page.getByLabel('Pick gpu/a100, trainer-2').check()
    await page.getByText('1 picked').waitFor()
    await page.getByRole('button', { name: 'Force release …' }).click()
    const dialog = page.getByRole('dialog')
    t.match(await dialog.textContent(), /away from trainer-2/)
    await dialog.locator('[name=reason]').fill('it hangs')
    await dialog.locator('[name=confirm]').fill('gpu/a100')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await rowOf(page, 'gpu/a100').getByText('2 / 4').waitFor()
    t.match((await service.call('GET', '/locks/all-locked?resource_name=gpu/a100')).body.data, { locks: [{ process_id: 'trainer-3' }, { process_id: 'trainer-4' }] })
    await page.getByLabel('Pick all shares of gpu/a100').check()
    await page.getByText('2 picked').waitFor()
    t.same(opened.seen.complaints, [])
  })

  await t.test('its page has every holder, what the waiters ask for, and commands that take a share', async (t) => {
    const waiting = [service.request('gpu/a100', 'trainer-9', { limit: 4, permits: 3, wait_seconds: 600 })]
    await eventually('trainer-9 waits', async () => {
      const { body } = await service.call('GET', '/locks/queue?resource_name=gpu/a100')
      return body.data?.['total_waiters'] === 1 ? true : undefined
    })
    waiting.push(service.request('gpu/a100', 'upgrade', { wait_seconds: 600 }))
    await using opened = await openDashboard(browser, service, '?resource=gpu%2Fa100', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
    const { page } = opened
    await page.locator('.holders', { hasText: '2 holders' }).getByText('2 / 4').waitFor()
    t.match(await page.locator('.holders li').allTextContents(), [/trainer-3.*slot 4.*never renewed/s, /trainer-4.*slot 1/s])
    await page.locator('.queue li').nth(1).waitFor()
    t.same((await page.locator('.queue b').allTextContents()).toSorted(), ['3 of 4', 'exclusive'])
    t.match(await page.locator('.snippets code').first().textContent(), 'rlm run gpu/a100 --limit 4 -- CMD')
    t.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, 'on a phone nothing sticks out')
    await page.getByRole('button', { name: 'Force release all 2 holders …' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.locator('[name=reason]').fill('maintenance')
    await dialog.locator('[name=confirm]').fill('2')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await dialog.waitFor({ state: 'detached' })
    t.match(await waiting[0], { status: 200 })
    await service.release('gpu/a100', 'trainer-9')
    t.match(await waiting[1], { status: 200 })
    await page.locator('.holder .who', { hasText: 'upgrade' }).waitFor()
  })

  await t.test('the history has words for conversions and for what was stolen', async (t) => {
    await service.request('doc', 'a')
    await service.call('POST', '/locks/convert', { resource_name: 'doc', process_id: 'a', mode: 'shared' })
    await service.call('POST', '/locks/convert', { resource_name: 'doc', process_id: 'a', mode: 'exclusive' })
    await service.request('doc', 'b', { steal: true })
    await using opened = await openDashboard(browser, service, '?resource=doc')
    await opened.page.locator('.holder .who', { hasText: 'b' }).waitFor()
    await opened.page.locator('.history li').nth(5).waitFor()
    t.same(await opened.page.locator('.history .what').allTextContents(), ['granted', 'stolen', 'granted', 'converted', 'made a share', 'granted'])
  })
})
