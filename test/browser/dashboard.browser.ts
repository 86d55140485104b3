import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Service } from '../support/service.js'
import { cardOf, openDashboard, rowOf } from './dashboard-support.js'
import { HOST_NAME, launchBrowser, openPage } from './support.js'

void t.test('the dashboard in a browser', async (t) => {
  await using service = await Service.start({ settings: { ALLOWED_HOSTS: HOST_NAME, MAX_WAIT_SECONDS: '600' } })
  await using browser = await launchBrowser()

  await t.test('a lock that is taken over HTTP appears in two tabs, and goes when it is released', async (t) => {
    await using one = await openDashboard(browser, service)
    await using two = await openDashboard(browser, service)
    t.equal(await one.page.locator('.empty p').first().textContent(), 'Nothing is locked.')
    const began = Date.now()
    await service.request('jobs/report', 'worker-1', { ttl_seconds: 600 })
    for (const { page } of [one, two]) await rowOf(page, 'jobs/report').waitFor()
    t.comment(`in both after ${Date.now() - began} ms`)
    for (const { page } of [one, two]) {
      await rowOf(page, 'jobs/report').locator('.fill').waitFor()
      t.match(await rowOf(page, 'jobs/report').textContent(), /worker-1.*(?:10|9) min/)
    }
    await service.call('POST', '/locks/renew', { resource_name: 'jobs/report', process_id: 'worker-1' })
    await one.page.locator('.row.lock .renewals', { hasText: '1' }).waitFor()
    await service.release('jobs/report', 'worker-1')
    for (const { page } of [one, two]) await rowOf(page, 'jobs/report').waitFor({ state: 'detached' })
    for (const { seen } of [one, two]) {
      t.same(seen.strayRequests, [], 'it asks nobody but the service')
      t.same(seen.complaints, [], 'it never complains')
    }
  })

  await t.test('it works over plain http on a host that no browser trusts', async (t) => {
    await service.request('there', 'p')
    await using opened = await openPage(browser, `http://${HOST_NAME}:${service.port}`, '/dashboard', { until: 'load' })
    await rowOf(opened.page, 'there').waitFor()
    t.equal(await opened.page.evaluate(() => isSecureContext), false)
    t.same(opened.seen.complaints, [])
    await service.release('there', 'p')
  })

  await t.test('a lock is taken away by clicking: name typed, reason given, the one that was seen', async (t) => {
    await service.request('deploy/production', 'ci-4')
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    await rowOf(page, 'deploy/production').locator('a.name').click()
    await page.getByRole('button', { name: 'Force release …' }).click()
    const dialog = page.getByRole('dialog')
    const submit = dialog.getByRole('button', { name: 'Force release' })
    t.equal(await submit.isDisabled(), true)
    await dialog.locator('[name=reason]').fill('ci-4 was scrapped')
    await dialog.locator('[name=confirm]').fill('deploy/productio')
    t.equal(await submit.isDisabled(), true, 'nearly the name is not the name')
    await dialog.locator('[name=confirm]').pressSequentially('n')
    await submit.click()
    await dialog.waitFor({ state: 'detached' })
    await page.locator('.state.free').waitFor()
    const event = page.locator('.history .force_released')
    await event.waitFor()
    t.match(await event.textContent(), /taken away.*ci-4.*ci-4 was scrapped/)
    t.match(await service.status('deploy/production'), { body: { data: { is_locked: false } } })
    t.same(opened.seen.complaints, [])
  })

  await t.test('a later lock of the same name is never taken away by mistake', async (t) => {
    await service.request('deploy/staging', 'first')
    await using opened = await openDashboard(browser, service, '?resource=deploy%2Fstaging')
    const { page } = opened
    await page.locator('.holder .who', { hasText: 'first' }).waitFor()
    await page.keyboard.press('f')
    const dialog = page.getByRole('dialog')
    await service.release('deploy/staging', 'first')
    await service.request('deploy/staging', 'second')
    await dialog.getByText('This lock has ended meanwhile.').waitFor()
    await dialog.locator('[name=reason]').fill('stuck')
    await dialog.locator('[name=confirm]').fill('deploy/staging')
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await dialog.getByText('Another lock is valid by now; nothing was changed.').waitFor()
    t.match(await service.status('deploy/staging'), { body: { data: { is_locked: true, locked_by: 'second' } } })
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.locator('.holder .who', { hasText: 'second' }).waitFor()
    await service.release('deploy/staging', 'second')
  })

  await t.test('a name is text, whatever it looks like', async (t) => {
    const name = '<img src=x onerror="document.title=1">/"\'&amp;'
    const process = '<script>document.title=2</script>${1}'
    await service.request(name, process, { metadata: { '<b>': '</pre><svg onload="document.title=3">' } })
    const waiting = service.request(name, '"><iframe src=javascript:document.title=4>', { wait_seconds: 600 })
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    const row = page.locator('.row.lock', { hasText: name })
    await row.waitFor()
    t.match(await row.textContent(), process)
    await row.locator('a.name').click()
    await page.locator('.queue .who', { hasText: 'iframe' }).waitFor()
    t.equal(await page.locator('h2').textContent(), name)
    t.match(await page.locator('.holder pre').textContent(), '<svg onload')
    await page.getByRole('button', { name: 'Force release …' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.locator('[name=reason]').fill('<img src=y onerror=alert(5)>')
    await dialog.locator('[name=confirm]').fill(name)
    await dialog.getByRole('button', { name: 'Force release' }).click()
    await page.locator('.history q', { hasText: '<img src=y' }).waitFor()
    t.equal(await page.locator('img, iframe, #app script').count(), 0)
    t.equal(await page.title(), `${name} – Locks – 127.0.0.1:${service.port} · SQLite resource_locks.db`)
    t.same(opened.seen.strayRequests, [])
    t.same(opened.seen.complaints, [])
    t.match(await waiting, { status: 200 })
    await service.release(name, '"><iframe src=javascript:document.title=4>')
  })

  await t.test('a resource’s page has the queue in order, the history and snippets', async (t) => {
    await service.request("it's mine", 'p')
    const waiting = []
    for (const process of ['x', 'y', 'z']) {
      waiting.push(service.request("it's mine", process, { wait_seconds: 600, ttl_seconds: 600 }))
      await eventually(`${process} waits`, async () => {
        const { body } = await service.call('GET', "/locks/queue?resource_name=it's%20mine")
        return body.data?.['total_waiters'] === waiting.length ? true : undefined
      })
    }
    await using opened = await openDashboard(browser, service)
    const { page } = opened
    await rowOf(page, "it's mine").locator('.waiters b', { hasText: '3' }).waitFor()
    await page.locator('.attention').getByRole('link', { name: "it's mine" }).first().click()
    await page.locator('.queue li').nth(2).waitFor()
    t.same(await page.locator('.queue .who').allTextContents(), ['x', 'y', 'z'])
    await service.release("it's mine", 'p')
    await page.locator('.holder .who', { hasText: 'x' }).waitFor()
    await page.waitForFunction(() => document.querySelectorAll('.queue li').length === 2, undefined)
    t.same(await page.locator('.queue .who').allTextContents(), ['y', 'z'])
    t.match(await page.locator('.history li').allTextContents(), [/granted.*x$/, /released.*p$/, /granted.*p$/])
    t.match(await page.locator('.snippets code').first().textContent(), String.raw`rlm run 'it'\''s mine' -- CMD`)
    await page.getByRole('button', { name: /^Copy: Run/ }).click()
    await page.getByRole('button', { name: /^Copy: Run/ }).filter({ hasText: 'Copied' }).waitFor()
    for (const process of ['x', 'y', 'z']) {
      await eventually(`${process} has it`, async () => ((await service.release("it's mine", process)).status === 200 ? true : undefined))
    }
    await Promise.all(waiting)
  })

  await t.test('what cannot be read is unknown, not 0', async (t) => {
    await using opened = await openDashboard(browser, service, '', {
      prepare: (page) => page.route('**/locks/stats', (route) => route.fulfill({ status: 503, json: { detail: 'away', code: 'STORAGE_UNAVAILABLE' } }))
    })
    await opened.page.locator('.total', { hasText: 'locks' }).waitFor()
    t.same(await Promise.all(['Waiting', 'Grants / s', 'Conflicts / s', 'Wait, p95', 'Ran out'].map((title) => cardOf(opened.page, title))), Array(5).fill('unknown'))
    t.equal(await cardOf(opened.page, 'Held'), '0', 'this is known from the list')
  })
})
