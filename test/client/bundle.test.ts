import { gzipSync } from 'node:zlib'
import { build, type Metafile } from 'esbuild'
import t from 'tap'
import { inProject } from '../support/program.js'

/** What a page loads before it first watches, or holds a lock for more than a second. */
const MOST_BYTES = 8000
/** The same with what is loaded later, in one file. */
const MOST_BYTES_IN_ONE = 11_500
/** What pages load when they need it. */
const LATER = ['./events.js', './election.js', './rare-calls.js', './work.js']

/** All that the client has for a page. */
const NAMES = [
  'HttpLocks',
  'lockDocument',
  'LockLostError',
  'LockNotAcquiredError',
  'LockRequestError',
  'LockServiceUnavailableError',
  'LockWatchEndedError'
]

async function bundled(external: string[]): Promise<{ readonly bytes: number; readonly metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `export { ${NAMES.join(', ')} } from './dist/src/client/index.js'`, resolveDir: inProject('.') },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external,
    metafile: true,
    write: false
  })
  return { bytes: gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length, metafile }
}

void t.test('the client is one small file for a page, which loads the stream of events only when it needs it', async (t) => {
  const { bytes, metafile } = await bundled(LATER)
  const [output] = Object.values(metafile.outputs)
  t.same(new Set(output?.imports.map(({ path }) => path)), new Set(LATER))
  t.ok(output?.imports.every(({ kind }) => kind === 'dynamic-import'), 'nothing else, and that never at once')
  t.ok(bytes > 1000 && bytes <= MOST_BYTES, `${bytes} bytes`)

  const whole = await bundled([])
  t.notOk(Object.keys(whole.metafile.inputs).some((file) => file.endsWith('platform-node.js')), 'nothing of Node')
  t.ok(whole.bytes > bytes && whole.bytes <= MOST_BYTES_IN_ONE, `${whole.bytes} bytes`)
})
