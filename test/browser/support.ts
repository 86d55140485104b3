import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { PATIENCE_MS } from '../support/eventually.js'

/** The compiled service as a process of its own, on a free loopback port and an empty database, unless the settings name another. */
export async function startService(settings: Readonly<Record<string, string>> = {}): Promise<AsyncDisposable & { readonly port: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-browser-'))
  const service = spawn(process.execPath, [resolve('dist/src/server.js')], {
    cwd: folder,
    env: { PATH: process.env['PATH'], PORT: '0', ALLOWED_HOSTS: HOST_NAME, ...settings },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const ended = once(service, 'exit')
  const orphaned = (): unknown => service.kill('SIGKILL')
  process.once('exit', orphaned)
  const stop = async (): Promise<void> => {
    service.kill('SIGTERM')
    await ended
    process.removeListener('exit', orphaned)
    await rm(folder, { recursive: true, force: true })
  }
  for await (const line of createInterface({ input: service.stdout })) {
    const port = /Server listening at http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1]
    if (port === undefined) continue
    service.stdout.resume()
    return { port: Number(port), [Symbol.asyncDispose]: stop }
  }
  await stop()
  throw new Error('the service ended before it listened')
}

/** A name that no browser takes for this machine, so that no exception for localhost hides a fault. It leads to 127.0.0.1. */
export const HOST_NAME = 'locks.example.com'

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    timeout: PATIENCE_MS,
    executablePath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=MAP ${HOST_NAME} 127.0.0.1`
    ]
  })
}

/** What a page did that it never should: complain, or ask anybody but the service. The lists grow as the page goes on. */
export interface Seen {
  readonly complaints: string[]
  readonly strayRequests: string[]
  /** The paths of the requests to the service. */
  readonly ownRequests: string[]
}

export interface PageOptions extends BrowserContextOptions {
  /** `load` for a page whose connections stay open. */
  readonly until?: 'networkidle' | 'load'
  /** What to do with the page before its first request. */
  readonly prepare?: (page: Page) => Promise<unknown>
}

export type OpenedPage = AsyncDisposable & { readonly page: Page; readonly seen: Seen }

/** A new page of its own session, watched from its first request on. */
export async function openPage(browser: Browser, origin: string, path: string, options: PageOptions = {}): Promise<OpenedPage> {
  const { until = 'networkidle', prepare, ...context } = options
  const page = await browser.newPage(context)
  page.setDefaultTimeout(PATIENCE_MS)
  const seen: Seen = { complaints: [], strayRequests: [], ownRequests: [] }
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text())
  })
  page.on('pageerror', (error) => seen.complaints.push(error.message))
  page.on('requestfailed', (request) => seen.complaints.push(`${request.url()} failed: ${request.failure()?.errorText}`))
  page.on('request', (request) => {
    const url = new URL(request.url())
    // What the page carries inside itself reaches nobody.
    if (url.protocol === 'data:' || url.protocol === 'blob:') return
    if (url.origin === origin) seen.ownRequests.push(url.pathname)
    else seen.strayRequests.push(url.href)
  })
  await prepare?.(page)
  await page.goto(origin + path, { waitUntil: until })
  return { page, seen, [Symbol.asyncDispose]: () => page.close() }
}
