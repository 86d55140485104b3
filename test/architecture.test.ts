import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { inProject } from './support/program.js'

interface Arrows {
  /** What it may import beside itself; a folder stands for all that is in it. */
  readonly may: readonly string[]
  /** What it may import types of, which leave no trace at run time. */
  readonly types?: readonly string[]
  /** The npm packages it may import; any if left out. */
  readonly packages?: readonly string[]
}

const HTTP_HELPERS = ['src/http/schemas', 'src/http/errors.ts', 'src/http/responses.ts']

/** What only the commands that work on the database know. */
const SERVER = ['src/locks', 'src/storage', 'src/config.ts', 'src/log.ts']

/** Which room may know which other. A room that does not exist yet has its row all the same. */
const ARROWS: Readonly<Record<string, Arrows>> = {
  migrations: { may: [], packages: ['kysely'] },
  'src/locks': { may: [], packages: [] },
  'src/storage': { may: ['src/locks', 'migrations'], packages: ['kysely', 'better-sqlite3', 'pg'] },
  'src/http': { may: ['src/locks', 'src/version.ts'] },
  'src/compat': { may: ['src/locks', ...HTTP_HELPERS], types: ['src/config.ts'] },
  'src/client': { may: [], packages: [] },
  'src/cli': { may: ['src/client', 'src/version.ts', ...SERVER], packages: [] },
  'src/embedded': { may: ['src/locks', 'src/storage', 'src/client', 'src/compat/document-locks.ts'] },
  'src/middleware': { may: ['src/client', 'src/locks/errors.ts'], types: ['src/compat/document-locks.ts'], packages: [] },
  'src/dashboard': { may: ['src/client'], packages: ['fastify', 'preact', 'htm', 'rapidoc'] },
  'src/log.ts': { may: ['src/locks/errors.ts'], packages: ['pino'] },
  'src/version.ts': { may: [], packages: [] },
  'src/config.ts': { may: ['src/locks'] },
  'src/app.ts': { may: ['src/locks', 'src/http', 'src/compat', 'src/dashboard'], types: ['src/config.ts'] },
  'src/index.ts': { may: ['src'] },
  'src/health-check.ts': { may: ['src/config.ts'] },
  'src/rlm.ts': { may: ['src/cli', 'src/server.ts'], packages: [] },
  'src/server.ts': { may: ['src'] }
}

const ENTRIES = new Set(['src/server.ts', 'src/health-check.ts', 'src/rlm.ts'])

interface Import {
  readonly from: string
  /** A path in the repository, the name of a package, or COMPUTED. */
  readonly to: string
  readonly typeOnly: boolean
}

/** What is imported shows only at run time. */
const COMPUTED = 'node:computed'

const ROOT = inProject('.')
const FILES = ['src', 'migrations'].flatMap(filesOf)
const IMPORTS = FILES.flatMap((file) => importsOf(file, readFileSync(join(ROOT, file), 'utf8')))
const OWN = IMPORTS.filter(({ to }) => /^(?:src|migrations)\//.test(to))

void t.test('every import follows an arrow', (t) => {
  for (const { from, to, typeOnly } of OWN) {
    const room = roomOf(from)
    const { may = [], types = [] } = ARROWS[room] ?? {}
    t.ok([room, ...may, ...(typeOnly ? types : [])].some((place) => isIn(to, place)), `${from} -> ${to}`)
  }
  t.end()
})

void t.test('rooms keep to their packages', (t) => {
  for (const { from, to } of IMPORTS) {
    const allowed = ARROWS[roomOf(from)]?.packages
    if (allowed !== undefined && !/^(?:node:|src\/|migrations\/)/.test(to)) t.ok(allowed.includes(to), `${from} -> ${to}`)
  }
  t.end()
})

void t.test('every file belongs to a room', (t) => {
  t.strictSame(FILES.filter((file) => !(roomOf(file) in ARROWS)), [])
  t.end()
})

void t.test('nothing imports an entry, but rlm the server', (t) => {
  t.strictSame(OWN.filter(({ to }) => ENTRIES.has(to)).map(({ from, to }) => `${from} -> ${to}`), ['src/rlm.ts -> src/server.ts'])
  t.end()
})

void t.test('what is imported is known beforehand', (t) => {
  t.strictSame(IMPORTS.filter(({ to }) => to === COMPUTED), [])
  t.end()
})

void t.test('neither the service nor the scripts know the tests', (t) => {
  const imports = [...FILES, ...filesOf('scripts')].flatMap((file) => importsOf(file, readFileSync(join(ROOT, file), 'utf8')))
  t.strictSame(imports.filter(({ to }) => isIn(to, 'test')).map(({ from, to }) => `${from} -> ${to}`), [])
  t.end()
})

void t.test('of the command line, only the commands of the server know the engine', (t) => {
  const knowing = OWN.filter(({ from, to }) => isIn(from, 'src/cli') && SERVER.some((place) => isIn(to, place))).map(({ from }) => from)
  t.strictSame([...new Set(knowing)], ['src/cli/server-commands.ts'])
  t.end()
})

void t.test('only the place that opens the store knows both databases', (t) => {
  const both = FILES.filter((file) => ['src/storage/sqlite', 'src/storage/postgres'].every((place) => OWN.some(({ from, to }) => from === file && isIn(to, place))))
  t.strictSame(both, ['src/storage/index.ts'])
  t.end()
})

void t.test('no import goes round in a circle', (t) => {
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' -> '))
    if (done.has(file) || path.includes(file)) return
    for (const { from, to, typeOnly } of OWN) if (from === file && !typeOnly) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of FILES) visit(file, [])
  t.strictSame(circles, [])
  t.end()
})

void t.test('the reader of imports sees every kind', (t) => {
  const text = `import a from './a.js'; import type { B } from './b.js'; import { type C, type D } from './c.js'; import './d.js'
    export { e } from './e.js'; export type * from './f.js'; const g = await import('./g.js'); let h: import('./h.js').H
    import 'node:fs'; import i, { type J } from '../i.js'; import x from '@scope/name/deep/file.js'
    await import(k)`
  const seen = importsOf('src/http/x.ts', text).map(({ to, typeOnly }) => `${to}${typeOnly ? ' types' : ''}`)
  t.strictSame(seen, [
    'src/http/a.ts',
    'src/http/b.ts types',
    'src/http/c.ts types',
    'src/http/d.ts',
    'src/http/e.ts',
    'src/http/f.ts types',
    'src/http/g.ts',
    'src/http/h.ts types',
    'node:fs',
    'src/i.ts',
    '@scope/name',
    COMPUTED
  ])
  t.end()
})

function filesOf(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => `${folder}/${path}`)
}

function importsOf(file: string, text: string): Import[] {
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) found.push({ from: file, to: resolve(file, specifier.text), typeOnly })
  }
  const addCall = (specifier: ts.Node | undefined): void => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) add(specifier, false)
    else found.push({ from: file, to: COMPUTED, typeOnly: false })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node.importClause))
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) addCall(node.arguments[0])
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest))
  return found
}

function isTypeOnly(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false
  const { namedBindings: named, name } = clause
  return clause.isTypeOnly || (name === undefined && named !== undefined && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly))
}

function resolve(from: string, specifier: string): string {
  if (specifier === '#platform') return 'src/client/platform-node.ts'
  if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier)).replaceAll('\\', '/').replace(/\.js$/, '.ts')
  return specifier.startsWith('node:') ? specifier : /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier
}

/** The folder of `src` that a file is in, or the file itself where it stands beside the folders. */
function roomOf(file: string): string {
  return file.startsWith('src/') ? file.split('/').slice(0, 2).join('/') : 'migrations'
}

function isIn(file: string, place: string): boolean {
  return file === place || file.startsWith(`${place}/`)
}

void t.test('the folders whose files Tap leaves out are run by those in test/all', (t) => {
  const { tap } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly tap: { readonly exclude: readonly string[] } }
  const all = readdirSync(join(ROOT, 'test/all')).flatMap((file) => /^(?<folder>.*)\.test\.ts$/.exec(file)?.groups?.['folder'] ?? [])
  t.same(tap.exclude, [`dist/test/{${all.toSorted().join(',')}}/*.test.js`])
  for (const folder of all) t.match(readFileSync(join(ROOT, 'test/all', `${folder}.test.ts`), 'utf8'), `importTests('${folder}')`)
  t.end()
})
