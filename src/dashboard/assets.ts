import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ICON, pageOf } from './page.js'
import { STYLE } from './style/index.js'

/** Every module of the page but those of npm. */
export const MODULES = [
  'html',
  'main',
  'model/attention',
  'model/figures',
  'model/format',
  'model/lock-table',
  'model/names',
  'model/rows',
  'model/snippets',
  'model/view',
  'net/api',
  'net/event-stream',
  'net/key',
  'net/list-reader',
  'net/live',
  'net/pause',
  'net/watch',
  'views/app',
  'views/attention-list',
  'views/cards',
  'views/connection',
  'views/dialog',
  'views/force-release',
  'views/help-dialog',
  'views/history-list',
  'views/holder-panel',
  'views/key-dialog',
  'views/lease-bar',
  'views/overview',
  'views/queue-list',
  'views/resource',
  'views/resource-link',
  'views/row',
  'views/row-keys',
  'views/snippets',
  'views/sparkline',
  'views/table',
  'views/use',
  'views/use-resource',
  'views/window'
] as const

/** What the page's modules import by name, and under which name each is served. */
const PACKAGES = { preact: 'preact.js', 'preact/hooks': 'preact-hooks.js', htm: 'htm.js' } as const

export interface Asset {
  readonly name: string
  readonly type: string
  readonly content: string
}

export interface Assets {
  readonly page: string
  readonly contentSecurityPolicy: string
  readonly files: readonly Asset[]
  /** Under which name the files are served: a digest of all of them. */
  readonly folder: string
}

const JAVASCRIPT = 'text/javascript; charset=utf-8'

/**
 * Reads what the page is made of: modules as tsc compiles them, and three of npm's, none of them bundled or changed.
 *
 * @throws Error when the modules were not compiled.
 */
export async function readAssets(): Promise<Assets> {
  const own = MODULES.map(async (name): Promise<Asset> => ({ name: `${name}.js`, type: JAVASCRIPT, content: await compiled(name) }))
  const packages = Object.entries(PACKAGES).map(
    async ([specifier, name]): Promise<Asset> => ({ name, type: JAVASCRIPT, content: await script(fileURLToPath(import.meta.resolve(specifier))) })
  )
  const files: Asset[] = [
    { name: 'style.css', type: 'text/css; charset=utf-8', content: STYLE },
    { name: 'icon.svg', type: 'image/svg+xml', content: ICON },
    ...(await Promise.all([...packages, ...own]))
  ]
  const folder = digest('hex', ...files.flatMap(({ name, content }) => [name, content])).slice(0, 16)
  const imports = Object.fromEntries(Object.entries(PACKAGES).map(([specifier, name]) => [specifier, `./dashboard/${folder}/${name}`]))
  const importMap = JSON.stringify({ imports })
  return {
    page: pageOf({ folder, importMap, modules: [...Object.values(PACKAGES), ...MODULES.map((name) => `${name}.js`)] }),
    contentSecurityPolicy: policyFor(importMap),
    files,
    folder
  }
}

/**
 * Nothing but this service's own files, and no text ever parsed as HTML or script. An import map must stand in the page
 * itself, hence its digest. No `upgrade-insecure-requests`: over plain http it would leave the page blank.
 */
function policyFor(importMap: string): string {
  return [
    "default-src 'none'",
    `script-src 'self' 'sha256-${digest('base64', importMap)}'`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'"
  ].join('; ')
}

function digest(encoding: 'hex' | 'base64', ...texts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(text)
  return hash.digest(encoding)
}

/** Beside this file where that is compiled, else in `dist`. */
async function compiled(name: string): Promise<string> {
  const here = import.meta.url.endsWith('.ts') ? '../../dist/src/dashboard' : '.'
  const path = fileURLToPath(new URL(join(here, 'page', `${name}.js`), import.meta.url))
  try {
    return await script(path)
  } catch (cause) {
    throw new Error('The dashboard is not compiled; run npm run build first', { cause })
  }
}

/** Without the hint at a source map, which is not served. */
async function script(path: string): Promise<string> {
  const text = await readFile(path, 'utf8')
  return text.replace(/^\/\/# sourceMappingURL=.*$/m, '')
}
