import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freePort } from '../../scripts/postgres-server.js'
import { Service } from '../support/service.js'
import { temporaryFolder } from '../support/program.js'
import { openDashboard, rowOf, takeMany } from './dashboard-support.js'
import { launchBrowser } from './support.js'

const LOCKS = 10_000
/** So many of them are shares of one resource. */
const SHARES = 400
/** No task may keep the page busy for as long as this machine takes to draw so many rows, a tenth of what drawing all would take. */
const ROWS = 1000

void t.test('ten thousand locks do not freeze the page', async (t) => {
  await using service = await Service.start()
  await using browser = await launchBrowser()
  await takeMany(service, LOCKS - SHARES, (index) => `group-${index % 40}/${String(index).padStart(5, '0')}`)
  await Promise.all(Array.from({ length: SHARES }, (_, index) => service.request('group-9/pool', `reader ${index}`, { limit: 500, ttl_seconds: 3600 })))
  await using opened = await openDashboard(browser, service, '', {
    prepare: (page) =>
      page.addInitScript(() => {
        const tasks: number[] = []
        new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' })
        Object.assign(globalThis, { longTasks: tasks })
      })
  })
  const { page } = opened
  await page.locator('.total', { hasText: '10,000 locks' }).waitFor()
  t.ok((await page.locator('.row').count()) < 200, 'only what can be seen is drawn')

  for (let turn = 0; turn < 20; turn += 1) {
    await page.mouse.wheel(0, 9000)
    await sleep(30)
  }
  await page.keyboard.press('End')
  await rowOf(page, 'group-9/pool').getByText('400 / 500').waitFor()
  await page.keyboard.press('Enter')
  await page.locator('.row.within').first().waitFor()
  await page.keyboard.press('End')
  await page.locator('.row.within', { hasText: 'slot 400' }).waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('group-7/0', { delay: 30 })
  await page.locator('.total', { hasText: '240 of 10,000 locks' }).waitFor()
  await page.keyboard.press('Escape')
  await service.request('group-0/new', 'latecomer')
  await page.keyboard.press('Home')
  await rowOf(page, 'group-0/00000').waitFor()
  await page.locator('.total', { hasText: '10,001 locks' }).waitFor()

  const tasks = await page.evaluate(() => (globalThis as unknown as { longTasks: number[] }).longTasks)
  // The slowest of some: a machine that is busy with something else slows down tasks, too.
  const times = []
  for (let turn = 0; turn < 5; turn += 1) times.push(await page.evaluate(timeToDraw, ROWS))
  const limit = Math.max(...times)
  t.comment(`long tasks: ${tasks.map(Math.round).join(' ')} ms, of at most ${Math.round(limit)} ms`)
  t.ok(Math.max(0, ...tasks) < limit, 'and nothing took long')
  t.same(opened.seen.complaints, [])
})

void t.test('a lost connection is said aloud, and mended when the service is back', async (t) => {
  await using folder = await temporaryFolder()
  await using browser = await launchBrowser()
  const PORT = String(await freePort())
  const first = await Service.start({ cwd: folder.path, settings: { PORT } })
  await first.request('kept', 'p')
  await first.request('brief', 'p')
  await using opened = await openDashboard(browser, first)
  const { page } = opened
  await rowOf(page, 'brief').waitFor()
  await first.kill()
  await page.getByRole('alert').getByText('Connection lost.').waitFor()
  t.match(await page.locator('.connection').textContent(), 'connection lost')
  t.equal(await page.getByText('Nobody waits.').count(), 0, 'who waits is as unknown as how many')
  t.match(await page.locator('.banner').textContent(), /What you see is \d+ s old/)
  t.equal(await rowOf(page, 'kept').count(), 1, 'what was known is still shown')

  await using second = await Service.start({ cwd: folder.path, settings: { PORT } })
  await second.release('brief', 'p')
  await second.request('new', 'p')
  await page.locator('.connection.live').waitFor()
  await rowOf(page, 'new').waitFor()
  await rowOf(page, 'brief').waitFor({ state: 'detached' })
  t.equal(await page.getByRole('alert').count(), 0)
})

/** Runs in the page: copies a row that often and has the browser compute the layout. @returns the milliseconds that it took. */
function timeToDraw(rows: number): number {
  const row = document.querySelector('.row.lock')
  const began = performance.now()
  const place = document.body.appendChild(document.createElement('div'))
  for (let drawn = 0; drawn < rows; drawn += 1) place.append(row?.cloneNode(true) ?? '')
  place.getBoundingClientRect()
  place.remove()
  return performance.now() - began
}
