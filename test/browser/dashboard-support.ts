import { join } from 'node:path'
import type { Browser, Locator, Page } from 'playwright-core'
import type { ApiKey } from '../../src/locks/api-keys.js'
import { openKeys } from '../../src/storage/index.js'
import { newKey } from '../support/app.js'
import { temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'
import { openPage, type OpenedPage, type PageOptions } from './support.js'

/** Opens the dashboard and waits until its stream of events is open. */
export async function openDashboard(browser: Browser, service: Service, search = '', options: PageOptions = {}): Promise<OpenedPage> {
  const opened = await openPage(browser, service.url, `/dashboard${search}`, { until: 'load', ...options })
  await opened.page.locator('.connection.live').waitFor()
  return opened
}

/** The row of a lock in the table. */
export function rowOf(page: Page, name: string): Locator {
  return page.locator('.row.lock', { has: page.locator(`a.name[title=${JSON.stringify(name)}]`) })
}

/** The figure on a card, or the word that stands for it. */
export async function cardOf(page: Page, title: string): Promise<string | null> {
  return await page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) }).locator('p').textContent()
}

/** Locks by the hundred. */
export async function takeMany(service: Service, count: number, nameOf: (index: number) => string): Promise<void> {
  for (let from = 0; from < count; from += 100) {
    const resource_names = Array.from({ length: Math.min(100, count - from) }, (_, index) => nameOf(from + index))
    const { status } = await service.call('POST', '/locks/request-many', { resource_names, process_id: `worker-${from % 700}`, ttl_seconds: 3600 })
    if (status !== 200) throw new Error(`answered ${status}`)
  }
}

/** A service that wants a key, and the secret of the only one, which may do so much. */
export async function serviceWithKeys(may: Partial<Pick<ApiKey, 'scopes' | 'prefix'>>): Promise<AsyncDisposable & { readonly service: Service; readonly secret: string }> {
  const folder = await temporaryFolder()
  const url = `sqlite:${join(folder.path, 'x.db')}`
  const { secret, ...key } = newKey('browser', may)
  {
    await using opened = await openKeys(url)
    await opened.keys.create(key)
  }
  const service = await Service.start({ settings: { DATABASE_URL: url } })
  const end = async (): Promise<void> => {
    await service[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  }
  return { service, secret, [Symbol.asyncDispose]: end }
}
