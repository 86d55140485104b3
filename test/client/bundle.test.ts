import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'
import { inProject } from '../support/program.js'

/** What a page loads that uses all of the client. */
const MOST_BYTES = 10_000

void t.test('the client is one small file for a page, which asks for nothing else', async (t) => {
  const { outputFiles, metafile } = await build({
    entryPoints: [inProject('dist/src/client/index.js')],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    metafile: true,
    write: false
  })
  t.notOk(Object.keys(metafile.inputs).some((file) => file.endsWith('platform-node.js')), 'nothing of Node')
  const [bundle] = outputFiles
  const size = bundle === undefined ? 0 : gzipSync(bundle.contents, { level: 9 }).length
  t.ok(size > 0 && size <= MOST_BYTES, `${size} bytes`)
})
