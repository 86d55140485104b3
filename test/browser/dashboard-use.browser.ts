import t from 'tap'
import { Service } from '../support/service.js'
import { openDashboard, rowOf, takeMany } from './dashboard-support.js'
import { launchBrowser, openPage } from './support.js'

void t.test('using the dashboard', async (t) => {
  await using service = await Service.start()
  await using browser = await launchBrowser()
  await takeMany(service, 300, (index) => `${index % 2 === 0 ? 'even' : 'odd'}/${String(index).padStart(3, '0')}`)
  await service.request('alone', 'somebody else')

  await t.test('the filter is kept in the address: it survives a reload and can be sent to others', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    await page.getByPlaceholder('Filter').fill('EVEN/01')
    await page.locator('.total', { hasText: '5 of 301 locks' }).waitFor()
    t.equal(new URL(page.url()).search, '?q=EVEN%2F01')
    await page.reload()
    await page.locator('.total', { hasText: '5 of 301 locks' }).waitFor()
    t.equal(await page.getByPlaceholder('Filter').inputValue(), 'EVEN/01')
    await page.getByPlaceholder('Filter').fill('somebody')
    await rowOf(page, 'alone').locator('a.name').click()
    t.equal(new URL(page.url()).search, '?resource=alone&q=somebody')
    await page.goBack()
    await page.locator('.total', { hasText: '1 of 301 locks' }).waitFor()
    await page.getByPlaceholder('Filter').fill('no such <thing>')
    t.equal(await page.locator('.empty').textContent(), 'None of 301 locks has “no such <thing>” in its name, holder or metadata.')
    await page.getByRole('button', { name: 'Token' }).click()
    t.match(new URL(page.url()).search, /sort=token/)
  })

  await t.test('going back leads to where one was in the table', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    await rowOf(page, 'even/000').waitFor()
    await page.evaluate(() => scrollTo(0, 4000))
    // To click, the browser may first have to scroll a little.
    await rowOf(page, 'even/230').locator('a.name').hover()
    const before = await page.evaluate(() => scrollY)
    await rowOf(page, 'even/230').locator('a.name').click()
    await page.locator('h2', { hasText: 'even/230' }).waitFor()
    t.equal(await page.evaluate(() => scrollY), 0)
    await page.goBack()
    await rowOf(page, 'even/230').waitFor()
    t.equal(await page.evaluate(() => scrollY), before)
    await page.evaluate(() => {
      scrollBy(0, 120)
      document.querySelector<HTMLElement>('a.name[title="even/230"]')?.click()
    })
    await page.locator('h2', { hasText: 'even/230' }).waitFor()
    await page.goBack()
    await rowOf(page, 'even/230').waitFor()
    t.equal(await page.evaluate(() => scrollY), before + 120, 'also where one leaves in the frame of the scroll')
  })

  await t.test('everything can be done from the keyboard', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    const focused = (): Promise<string | null> => page.evaluate(() => document.activeElement?.textContent ?? null)
    await rowOf(page, 'even/000').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('odd')
    await page.locator('.total', { hasText: '150 of 301' }).waitFor()
    await page.keyboard.press('Escape')
    await page.locator('.total', { hasText: /^301 locks/ }).waitFor()
    for (const key of ['j', 'ArrowDown', 'j', 'k']) await page.keyboard.press(key)
    t.equal(await focused(), 'even/000', 'the first line is the group’s')
    await page.keyboard.press('End')
    await page.waitForFunction(() => document.activeElement?.textContent === 'alone', undefined)
    t.equal(await page.evaluate(() => (document.activeElement?.getBoundingClientRect().bottom ?? Infinity) <= innerHeight), true, 'it can be seen')
    await page.keyboard.press('Enter')
    await page.locator('h2', { hasText: 'alone' }).waitFor()
    await page.keyboard.press('f')
    await page.getByRole('dialog', { name: 'Force release' }).waitFor()
    await page.keyboard.press('Escape')
    await page.locator('dialog').waitFor({ state: 'detached' })
    await page.keyboard.press('f')
    await page.getByRole('dialog', { name: 'Force release' }).waitFor()
    const focus = await page.evaluate(() => {
      // In the frame in which it closes, the focus is still in it.
      document.querySelector('dialog')?.close()
      document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true, cancelable: true }))
      return document.activeElement?.tagName
    })
    t.equal(focus, 'INPUT', 'the case is met')
    await rowOf(page, 'alone').waitFor()
    await page.keyboard.press('Home')
    await page.waitForFunction(() => document.activeElement?.getAttribute('aria-expanded') === 'true', undefined)
    await page.keyboard.press('Enter')
    await rowOf(page, 'even/000').waitFor({ state: 'detached' })
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    t.same(opened.seen.complaints, [])
  })

  await t.test('light and dark follow the system, and text stands out in both', async (t) => {
    for (const colorScheme of ['light', 'dark'] as const) {
      await using opened = await openDashboard(browser, service, '', { colorScheme })
      const { backgroundColor, color } = await opened.page.evaluate(() => {
        const { backgroundColor, color } = getComputedStyle(document.body)
        return { backgroundColor, color }
      })
      const [ground, ink] = [brightness(backgroundColor), brightness(color)]
      t.ok(colorScheme === 'light' ? ground > 0.9 && ink < 0.2 : ground < 0.15 && ink > 0.8, `${colorScheme}: ${ink.toFixed(2)} on ${ground.toFixed(2)}`)
    }
  })

  await t.test('it fits on a phone', async (t) => {
    await service.request(`long/${'x'.repeat(240)}`, 'y'.repeat(255))
    const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }
    await using opened = await openDashboard(browser, service, '', phone)
    const { page } = opened
    const overflow = (): Promise<number> => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    await rowOf(page, 'even/000').waitFor()
    t.equal(await overflow(), 0, 'nothing sticks out')
    await page.getByPlaceholder('Filter').fill('long')
    await page.locator('.row.lock a.name').tap()
    await page.locator('.holder .who').waitFor()
    t.equal(await overflow(), 0, 'nor on a resource’s page')
    await service.call('DELETE', `/locks/release-all?process_id=${'y'.repeat(255)}`)
  })

  await t.test('where the service wants a key, it asks for one, sends it in a header and keeps it for the tab', async (t) => {
    const sent: (string | undefined)[] = []
    await using opened = await openPage(browser, service.url, '/dashboard', {
      until: 'load',
      prepare: (page) =>
        page.route('**/locks/**', async (route) => {
          const authorization = route.request().headers()['authorization']
          sent.push(authorization)
          const refused = authorization !== 'Bearer rlm_secret' ? 401 : route.request().method() === 'POST' ? 403 : undefined
          if (refused === undefined) await route.continue()
          else await route.fulfill({ status: refused, json: { detail: 'No', code: refused === 401 ? 'UNAUTHORIZED' : 'FORBIDDEN' } })
        })
    })
    const { page } = opened
    const dialog = page.getByRole('dialog', { name: 'API key' })
    await dialog.getByText('This service wants an API key.').waitFor()
    await page.getByText('No access.').waitFor()
    await dialog.locator('[name=key]').fill('wrong')
    await dialog.getByRole('button', { name: 'Use this key' }).click()
    await dialog.getByText('The service does not know this key').waitFor()
    await dialog.locator('[name=key]').fill('rlm_secret')
    await dialog.getByRole('button', { name: 'Use this key' }).click()
    await rowOf(page, 'even/000').waitFor()
    t.same([...new Set(sent)], [undefined, 'Bearer wrong', 'Bearer rlm_secret'])
    t.notMatch(page.url(), 'secret')
    await page.reload()
    await rowOf(page, 'even/000').locator('a.name').click()
    t.match(await page.locator('.snippets code').nth(1).textContent(), '$RLM_API_KEY')
    t.notMatch(await page.content(), 'rlm_secret')

    await page.getByRole('button', { name: 'Force release …' }).click()
    await page.getByRole('dialog').locator('[name=reason]').fill('why')
    await page.getByRole('dialog').locator('[name=confirm]').fill('even/000')
    await page.getByRole('dialog').getByRole('button', { name: 'Force release' }).click()
    await page.getByText('Your key does not allow this').waitFor()
    await page.getByRole('button', { name: 'Close' }).click()
    t.equal(await page.getByRole('button', { name: 'Force release …' }).count(), 0, 'what is not allowed is no longer offered')
  })
})

/** Of a colour as `rgb(…)`, 0 to 1. */
function brightness(color: string): number {
  const parts = color.match(/\d+/g) ?? []
  return parts.slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765
}
