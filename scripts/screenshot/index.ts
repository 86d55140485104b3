import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { buildApp } from '../../src/app.js'
import { LockService } from '../../src/locks/lock-service.js'
import { Sweeper } from '../../src/locks/cleanup.js'
import { openStore } from '../../src/storage/index.js'
import { Scene } from './scene.js'

/**
 * `npm run screenshot` takes the pictures of the dashboard that the documentation shows, of a service of its own on a
 * database in memory. SECONDS says how long to let the figures run before, FOLDER where to put the pictures.
 */
const SECONDS = Number(process.env['SECONDS'] ?? 92)
const FOLDER = process.env['FOLDER'] ?? 'docs'

interface Shot {
  readonly file: string
  readonly path: string
  readonly options: BrowserContextOptions
}

const DESKTOP = { viewport: { width: 1280, height: 900 }, deviceScaleFactor: 2 }
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

const SHOTS: readonly Shot[] = [
  { file: 'dashboard.png', path: '/dashboard', options: { ...DESKTOP, colorScheme: 'light' } },
  { file: 'dashboard-dark.png', path: '/dashboard', options: { ...DESKTOP, colorScheme: 'dark' } },
  { file: 'dashboard-resource.png', path: '/dashboard?resource=deploy%2Fproduction', options: { ...DESKTOP, colorScheme: 'light' } },
  { file: 'dashboard-phone.png', path: '/dashboard', options: { ...PHONE, colorScheme: 'dark' } }
]

let offsetMs = 0
await using store = await openStore({ databaseUrl: 'sqlite::memory:', clock: () => Date.now() + offsetMs })
const locks = new LockService(store, { defaultTtlMs: null })
await using sweeper = new Sweeper(store, { intervalMs: 1000, onExpired: (grants) => locks.statistics.expired(grants), onError: () => undefined })
const app = await buildApp({ locks, maxTtlSeconds: 86_400, maxWaitSeconds: 600 })
const url = await app.listen({ host: '127.0.0.1', port: 0 })
const scene = new Scene(app, (offset) => {
  offsetMs = offset
})
await scene.open(SECONDS)
sweeper.start()
const began = Date.now()
const playing = scene.play(SECONDS)

const browser = await chromium.launch({ executablePath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
try {
  await mkdir(FOLDER, { recursive: true })
  const pages = await Promise.all(SHOTS.map((shot) => open(browser, shot)))
  await sleep(SECONDS * 1000 - (Date.now() - began))
  for (const [index, { file }] of SHOTS.entries()) {
    await pages[index]?.screenshot({ path: join(FOLDER, file) })
    process.stdout.write(`${join(FOLDER, file)}\n`)
  }
} finally {
  await browser.close()
  scene.close()
  await playing
  await app.close()
}

async function open(browser: Browser, { path, options }: Shot): Promise<Page> {
  const page = await browser.newPage(options)
  await page.goto(url + path)
  await page.locator('.connection.live').waitFor()
  return page
}
