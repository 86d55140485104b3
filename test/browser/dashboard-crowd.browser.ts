import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Service } from '../support/service.js'
import { temporaryFolder } from '../support/program.js'
import { openDashboard, PATIENCE_MS, rowOf, takeMany } from './dashboard-support.js'
import { launchBrowser } from './support.js'

const soon = { timeout: PATIENCE_MS }
const LOCKS = 10_000
/** Longer than this nothing may keep the page busy, even on a machine with other things to do; by itself it takes a tenth. */
const LONGEST_TASK_MS = 700

void t.test('ten thousand locks do not freeze the page', async (t) => {
  await using service = await Service.start()
  await using browser = await launchBrowser()
  await takeMany(service, LOCKS, (index) => `group-${index % 40}/${String(index).padStart(5, '0')}`)
  await using opened = await openDashboard(browser, service, '', {
    prepare: (page) =>
      page.addInitScript(() => {
        const tasks: number[] = []
        new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' })
        Object.assign(globalThis, { longTasks: tasks })
      })
  })
  const { page } = opened
  await page.locator('.total', { hasText: '10,000 locks' }).waitFor({ timeout: 2 * PATIENCE_MS })
  t.ok((await page.locator('.row').count()) < 200, 'only what can be seen is drawn')

  for (let turn = 0; turn < 20; turn += 1) {
    await page.mouse.wheel(0, 9000)
    await sleep(30)
  }
  await page.keyboard.press('End')
  await rowOf(page, 'group-9/09969').waitFor(soon)
  await page.keyboard.press('/')
  await page.keyboard.type('group-7/0', { delay: 30 })
  await page.locator('.total', { hasText: '250 of 10,000 locks' }).waitFor(soon)
  await page.keyboard.press('Escape')
  await service.request('group-0/new', 'latecomer')
  await page.keyboard.press('Home')
  await rowOf(page, 'group-0/00000').waitFor(soon)
  await page.locator('.total', { hasText: '10,001 locks' }).waitFor(soon)

  const tasks = await page.evaluate(() => (globalThis as unknown as { longTasks: number[] }).longTasks)
  t.comment(`long tasks: ${tasks.map(Math.round).join(' ')} ms`)
  t.ok(Math.max(0, ...tasks) < LONGEST_TASK_MS, 'and nothing took long')
  t.same(opened.seen.complaints, [])
})

void t.test('a lost connection is said aloud, and mended when the service is back', async (t) => {
  await using folder = await temporaryFolder()
  await using browser = await launchBrowser()
  const first = await Service.start({ cwd: folder.path })
  await first.request('kept', 'p')
  await first.request('brief', 'p')
  await using opened = await openDashboard(browser, first)
  const { page } = opened
  await rowOf(page, 'brief').waitFor(soon)
  await first.kill()
  await page.getByRole('alert').getByText('Connection lost.').waitFor(soon)
  t.match(await page.locator('.connection').textContent(), 'connection lost')
  t.match(await page.locator('.banner').textContent(), /What you see is \d+ s old/)
  t.equal(await rowOf(page, 'kept').count(), 1, 'what was known is still shown')

  await using second = await Service.start({ cwd: folder.path, settings: { PORT: String(first.port) } })
  await second.release('brief', 'p')
  await second.request('new', 'p')
  await page.locator('.connection.live').waitFor(soon)
  await rowOf(page, 'new').waitFor(soon)
  await rowOf(page, 'brief').waitFor({ state: 'detached', ...soon })
  t.equal(await page.getByRole('alert').count(), 0)
})
