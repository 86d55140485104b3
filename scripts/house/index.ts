import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import ts from 'typescript'
import { filesOfAnAcquire } from './acquire-path.js'

/**
 * `npm run house` prints how large the rooms of `src` are: files, lines, long functions, and the files whose functions run
 * while one free lock is requested. `DATABASE_URL` names a PostgreSQL database for the second half of the last figure;
 * `node dist/scripts/with-postgres.js node dist/scripts/house/index.js` brings one.
 */

const ROOT = join(import.meta.dirname, '..', '..', '..')
const SHORT_FILE = 40
const LONG_FILE = 320
const LONG_FUNCTION = 80

interface SourceFile {
  readonly path: string
  readonly text: string
  readonly lines: number
}

function readFolder(folder: string, pattern = /\.tsx?$/): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => pattern.test(path))
    .map((path) => {
      const text = readFileSync(join(ROOT, folder, path), 'utf8')
      return { path: `${folder}/${path.replaceAll(sep, '/')}`, text, lines: text.split('\n').length - 1 }
    })
}

/** Functions over the limit, with their lines, from their first line to their last. */
function longFunctions({ path, text }: SourceFile): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const lineOf = (position: number): number => file.getLineAndCharacterOfPosition(position).line
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const lines = lineOf(node.getEnd()) - lineOf(node.getStart(file)) + 1
      if (lines > LONG_FUNCTION) found.push(`${path}:${lineOf(node.getStart(file)) + 1} (${lines} lines)`)
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
}

const files = readFolder('src')
const support = readFolder('test/support')
const postgres = process.env['TEST_DATABASE_URL']
const paths = {
  sqlite: await filesOfAnAcquire('sqlite::memory:'),
  ...(postgres === undefined ? {} : { postgres: await filesOfAnAcquire(postgres) })
}

process.stdout.write(
  [
    `files in src: ${files.length}, lines: ${files.reduce((sum, { lines }) => sum + lines, 0)}, median: ${median(files.map(({ lines }) => lines))}`,
    `files under ${SHORT_FILE} lines: ${files.filter(({ lines }) => lines < SHORT_FILE).length}`,
    `files over ${LONG_FILE} lines: ${files.filter(({ lines }) => lines > LONG_FILE).map(({ path, lines }) => `${path} (${lines})`).join(', ') || 'none'}`,
    `functions over ${LONG_FUNCTION} lines: ${files.flatMap(longFunctions).join(', ') || 'none'}`,
    `files in test/support: ${support.length}`,
    ...Object.entries(paths).map(([database, run]) => `one acquire on ${database} runs functions in ${run.length} files: ${run.join(' ')}`),
    ''
  ].join('\n')
)
