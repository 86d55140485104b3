import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { emptyDatabase } from '../support/databases.js'
import { inProject, Program } from '../support/program.js'
import { install, run, Tarball } from './support.js'

/** The newest of each line that is supported, from npm's own packages of Node. */
const VERSIONS = ['20.20.2', '22.23.5', '24.22.3']

/** The client as a module and as CommonJS. */
const MODULE = `import { HttpLocks } from 'resource-lock-manager/client'
const [url] = process.argv.slice(2)
await new HttpLocks({ url }).withLock('a', ({ fencingToken }) => console.log(process.version, fencingToken > 0))
`
const COMMON_JS = `const { HttpLocks } = require('resource-lock-manager/client')
const [url] = process.argv.slice(2)
new HttpLocks({ url }).withLock('a', ({ fencingToken }) => console.log(process.version, fencingToken > 0))
`

void t.test('the package on each supported version of Node', async (t) => {
  await using tarball = await Tarball.make()
  const project = await tarball.install()
  const { packages } = JSON.parse(await readFile(inProject('package-lock.json'), 'utf8')) as { packages: Record<string, { dev?: true; devOptional?: true }> }
  const installed = Object.values(packages).filter(({ dev, devOptional }) => dev !== true && devOptional !== true)
  const documented = /(\d+) packages/.exec(await readFile(inProject('docs/architecture.md'), 'utf8'))?.[1]
  t.equal(installed.length, Number(documented), 'production packages are counted in docs/architecture.md')

  await writeFile(join(project, 'module.mjs'), MODULE)
  await writeFile(join(project, 'common.cjs'), COMMON_JS)
  const nodes = VERSIONS.map((version) => `node-${version}@npm:node-${process.platform}-${process.arch}@${version}`)
  const installing = await install(project, '--no-save', ...nodes)
  t.equal(installing.code, 0, installing.stderr)

  for (const version of VERSIONS) {
    await t.test(`Node ${version}: the service on PostgreSQL, the client as a module and as CommonJS`, async (t) => {
      await using database = await emptyDatabase('postgres')
      const node = join(project, `node_modules/node-${version}/bin/node`)
      const settings = { DATABASE_URL: database.url, PORT: '0' }
      const service = new Program([node, 'node_modules/resource-lock-manager/dist/src/server.js'], settings, project)
      const url = await service.find((stdout) => /Server listening at (http:\/\/127\.0\.0\.1:\d+)/.exec(stdout)?.[1])
      for (const file of ['module.mjs', 'common.cjs']) {
        t.match(await run(node, [file, url], project, { ...process.env, NODE_OPTIONS: '' }), { code: 0, stdout: `v${version} true\n` }, file)
      }
      service.signal('SIGTERM')
      t.match(await service.end(), { code: 0, stderr: '' })
    })
  }
})
