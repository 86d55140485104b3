import { readFile } from 'node:fs/promises'
import t from 'tap'
import { Service } from '../support/service.js'
import { cardOf, openDashboard, rowOf, serviceWithKeys, takeMany } from './dashboard-support.js'
import { launchBrowser, openPage } from './support.js'

const longName = (end: string): string => `tenants/${'a-very-long-name-of-a-tenant-'.repeat(6)}${end}`

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }

void t.test('what the dashboard tells and does', async (t) => {
  await using service = await Service.start()
  await using browser = await launchBrowser()

  await t.test('an empty table shows the command to begin with, and that command works', async (t) => {
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    t.match(await page.locator('.empty code').textContent(), new RegExp(`^curl -X POST ${service.url}/locks/request`))
    await page.locator('.where', { hasText: 'SQLite' }).waitFor()
    await page.waitForFunction(() => document.title.includes('SQLite'))
    await page.locator('.card time').waitFor()
    t.equal(await page.locator('.where').textContent(), `127.0.0.1:${service.port} · SQLite resource_locks.db`)
    t.equal(await page.title(), `Locks – 127.0.0.1:${service.port} · SQLite resource_locks.db`)
    t.match(await page.locator('.card', { hasText: 'Ran out' }).locator('h2').textContent(), /since \d\d:\d\d \S+/)
    t.match(await page.locator('.card time').getAttribute('title'), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC$/)
  })

  await t.test('long names are cut in the middle, and a lock without an end is marked', async (t) => {
    await service.request(longName('2026-01'), 'p', { ttl_seconds: 600 })
    await service.request(longName('2026-02'), 'p')
    for (const viewport of [{ width: 1440, height: 900 }, PHONE.viewport]) {
      await using opened = await openDashboard(browser, service, '', { viewport })
      for (const end of ['2026-01', '2026-02']) {
        const tail = rowOf(opened.page, longName(end)).locator('.name .tail')
        t.match(await tail.textContent(), new RegExp(`${end}$`))
        const seen = await tail.evaluate((element) => {
          const { right, width } = element.getBoundingClientRect()
          return width > 0 && right <= (element.closest('a.name')?.getBoundingClientRect().right ?? 0) + 1
        })
        t.ok(seen, `${end} can be seen at ${viewport.width} px`)
      }
      t.equal(await rowOf(opened.page, longName('2026-01')).locator('.never').count(), 0)
      t.match(await rowOf(opened.page, longName('2026-02')).locator('.never').textContent(), 'no end')
    }
    await service.call('DELETE', '/locks/release-all?process_id=p')
  })

  await t.test('on a phone the table is sorted and filtered, also by metadata', async (t) => {
    await service.request('jobs/a', 'worker-1', { ttl_seconds: 600, metadata: { ticket: 'OPS-7', retries: { left: 2 } } })
    await service.request('jobs/b', 'worker-2', { ttl_seconds: 60 })
    await using opened = await openDashboard(browser, service, '', PHONE)
    const { page } = opened
    await page.getByLabel('Sort by').selectOption('Lease')
    t.match(new URL(page.url()).search, 'sort=ends')
    await page.locator('.row.lock').first().getByText('jobs/b').waitFor()
    for (const text of ['TICKET=ops-7', 'OPS-7', 'retries={"left":2}']) {
      await page.getByPlaceholder('Filter').fill(text)
      await page.locator('.total', { hasText: '1 of 2 locks' }).waitFor()
    }
    t.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0)
  })

  await t.test('what is shown is saved as JSON', async (t) => {
    await using opened = await openDashboard(browser, service, '?q=jobs/a')
    const { page, seen } = opened
    await page.locator('.total', { hasText: '1 of 2 locks' }).waitFor()
    await page.locator('.where', { hasText: 'SQLite' }).waitFor()
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export JSON' }).click()])
    const saved = JSON.parse(await readFile(await download.path(), 'utf8')) as Record<string, unknown>
    t.match(download.suggestedFilename(), /^locks-[\dTZ-]+\.json$/)
    t.match(saved, {
      service: service.url,
      database: 'SQLite resource_locks.db',
      filter: 'jobs/a',
      total: 1,
      locks: [{ resource_name: 'jobs/a', process_id: 'worker-1', ttl_seconds: 600, waiters: 0, metadata: { ticket: 'OPS-7' } }]
    })
    t.same(seen.complaints, [])
  })

  await t.test('several locks are released by force with one reason; one that ended meanwhile is left alone', async (t) => {
    await takeMany(service, 20, (index) => `many/${String(index).padStart(2, '0')}`)
    await using opened = await openDashboard(browser, service, '?q=many/')
    const { page } = opened
    await rowOf(page, 'many/00').waitFor()
    await page.getByLabel('Pick all shown').check()
    await page.getByText('20 picked').waitFor()
    await page.getByLabel('Pick many/19').uncheck()
    await page.getByRole('button', { name: 'Force release …' }).click()
    const dialog = page.getByRole('dialog')
    await service.release('many/00', 'worker-0')
    await service.request('many/00', 'a later holder')
    await dialog.locator('[name=reason]').fill('the rack lost its power')
    t.equal(await dialog.getByRole('button', { name: 'Force release' }).isDisabled(), true)
    await dialog.locator('[name=confirm]').fill('19')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await dialog.getByText('18 of 19 locks were released. 1 had ended already.').waitFor()
    const { body } = await service.call('GET', '/locks/all-locked?prefix=many/')
    t.match(body.data, { total_locks: 2, locks: [{ process_id: 'a later holder' }, { resource_name: 'many/19' }] })
    const events = await service.call('GET', '/locks/history?limit=1&resource_name=many/07')
    t.match(events.body.data, { events: [{ event: 'force_released', reason: 'the rack lost its power' }] })
  })

  await t.test('all locks of one holder are released by force from the page of one', async (t) => {
    for (const name of ['x/1', 'x/2', 'x/3']) await service.request(name, 'a dead host')
    await using opened = await openDashboard(browser, service, '?resource=x%2F2')
    const { page } = opened
    await page.getByRole('link', { name: 'All 3 locks of this holder' }).waitFor()
    await page.getByRole('button', { name: 'Force release all 3 of this holder …' }).click()
    const dialog = page.getByRole('dialog')
    t.match(await dialog.textContent(), /Takes these locks away from a dead host.*x\/1.*x\/2.*x\/3/)
    await dialog.locator('[name=reason]').fill('gone')
    await dialog.locator('[name=confirm]').fill('3')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await dialog.waitFor({ state: 'detached' })
    await page.locator('.state.free').waitFor()
    t.match((await service.call('GET', '/locks/all-locked?process_id=a%20dead%20host')).body.data, { total_locks: 0 })
  })

  await t.test('a holder is asked to release, and the lock ends when the grace is over', async (t) => {
    await service.request('polite', 'busy', { ttl_seconds: 3600 })
    await using opened = await openDashboard(browser, service, '?resource=polite')
    const { page } = opened
    await page.getByRole('button', { name: 'Ask to release …' }).click()
    const dialog = page.getByRole('dialog', { name: 'Ask to release' })
    const submit = dialog.getByRole('button', { name: 'Ask to release' })
    await dialog.locator('[name=reason]').fill('it is drained')
    await dialog.locator('[name=confirm]').fill('polite')
    await dialog.locator('[name=grace]').fill('')
    t.equal(await submit.isDisabled(), true, 'not without a grace')
    await dialog.locator('[name=grace]').fill('900')
    await submit.click()
    await dialog.waitFor({ state: 'detached' })
    await page.locator('.history .revoked q', { hasText: 'it is drained' }).waitFor()
    await page.locator('.holder .lease', { hasText: /1[45] min/ }).waitFor()
    t.equal(await page.locator('.state').textContent(), 'held', 'it still has the lock')
    t.match((await service.call('POST', '/locks/renew', { resource_name: 'polite', process_id: 'busy' })).body.data, { revoked: { reason: 'it is drained' } })
    await service.release('polite', 'busy')
  })

  await t.test('a resource that is kept after its lock is shown as such, and freed', async (t) => {
    await service.request('hourly', 'cron', { ttl_seconds: 60 })
    await service.call('DELETE', '/locks/release?resource_name=hourly&process_id=cron&keep_seconds=3600')
    await using opened = await openDashboard(browser, service, '?resource=hourly')
    const { page } = opened
    await page.locator('.state.kept').waitFor()
    t.match(await page.locator('.holder').textContent(), /Nobody holds it\. After lock \d+ of cron it is kept: nobody gets it before .*, in (?:1 h|59 min)/)
    await page.getByRole('button', { name: 'Force release …' }).click()
    const dialog = page.getByRole('dialog')
    t.equal(await dialog.getByRole('alert').count(), 0, 'that its lock has ended is no news')
    await dialog.locator('[name=reason]').fill('again')
    await dialog.locator('[name=confirm]').fill('hourly')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await page.locator('.state.free').waitFor()
    t.match(await service.request('hourly', 'next'), { status: 200 })
    await service.release('hourly', 'next')
  })
})

void t.test('where the service shows nothing, the dashboard says so everywhere, and what a key may do once it has one', async (t) => {
  await using closed = await serviceWithKeys({ scopes: ['read'], prefix: 'reports/' })
  await using browser = await launchBrowser()
  await using opened = await openPage(browser, closed.service.url, '/dashboard', { until: 'load' })
  const { page } = opened
  await page.keyboard.press('Escape')
  await page.getByText('No access.').waitFor()
  t.equal(await page.locator('.connection').textContent(), 'no access', 'which is no lost connection')
  t.notMatch(await page.locator('main').textContent(), /Nobody|Nothing|None/)
  t.equal(await page.locator('.attention .none', { hasText: 'unknown' }).count(), 3)
  t.equal(await cardOf(page, 'Held'), 'unknown')

  await page.goto(`${closed.service.url}/dashboard?resource=reports%2Fa`)
  const dialog = page.getByRole('dialog')
  await dialog.locator('[name=key]').waitFor()
  t.equal(await page.locator('.panel .none', { hasText: 'unknown' }).count(), 3, 'holder, queue and history')
  await dialog.locator('[name=key]').fill(closed.secret)
  await dialog.getByRole('button', { name: 'Use this key' }).click()
  await page.locator('.history', { hasText: 'Nothing is remembered.' }).waitFor()
  await page.getByText('Nobody holds it.').waitFor()
  await page.locator('button.key', { hasText: 'Key browser read; names that begin with reports/' }).waitFor()
  t.match(await page.locator('.snippets code').first().textContent(), `RLM_URL=${closed.service.url} rlm run reports/a -- CMD`)
})
