import t from 'tap'
import { inProject } from '../support/program.js'
import { run, Tarball } from './support.js'

void t.test('the tarball', async (t) => {
  await using tarball = await Tarball.make()

  await t.test('has what a user needs and nothing else', (t) => {
    const unexpected = tarball.files.filter(
      (path) => !/^(?:dist\/(?:src|migrations)\/.*\.(?:js|d\.ts)|dist\/src\/dashboard\/bundle\/style\.css|docs\/.*\.(?:md|json|yaml|cfg)|README\.md|CHANGELOG\.md|LICENSE|package\.json)$/.test(path)
    )
    t.strictSame(unexpected, [])
    for (const entry of ['index', 'client/index', 'embedded/index', 'middleware/express', 'middleware/fastify', 'server']) {
      for (const end of ['js', 'd.ts']) t.ok(tarball.files.includes(`dist/src/${entry}.${end}`), `${entry}.${end}`)
    }
    for (const name of ['main.js', 'reference.js', 'style.css']) t.ok(tarball.files.includes(`dist/src/dashboard/bundle/${name}`), name)
    t.end()
  })

  await t.test('has a manifest that publint has nothing to say about', async (t) => {
    const { code, stdout, stderr } = await run('npx', ['publint', 'run', tarball.path, '--strict'], inProject('.'))
    t.equal(code, 0, stdout + stderr)
    t.match(stdout, /All good!/)
  })

  await t.test('has types that every module resolution finds', async (t) => {
    const { code, stdout } = await run('npx', ['attw', tarball.path, '--profile', 'esm-only', '--format', 'json'], inProject('.'))
    t.equal(code, 0, stdout)
    const { analysis } = JSON.parse(stdout) as { analysis: { entrypoints: Record<string, unknown> } }
    t.strictSame(Object.keys(analysis.entrypoints).toSorted(), ['.', './client', './locking', './middleware/express', './middleware/fastify', './package.json'])
  })
})
