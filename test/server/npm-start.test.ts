import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import t from 'tap'
import { inProject } from '../support/program.js'

const tsc = (...args: readonly string[]) => {
  const { stdout } = spawnSync(process.execPath, [inProject('node_modules/typescript/bin/tsc'), ...args], { cwd: inProject('.'), encoding: 'utf8' })
  return stdout.trim().split('\n')
}

void t.test('npm start compiles what runs, without tests and scripts, and nothing where that is up to date', async (t) => {
  const { scripts } = JSON.parse(await readFile(inProject('package.json'), 'utf8')) as { scripts: Readonly<Record<string, string>> }
  for (const name of ['migrate', 'keys', 'raise-numbers']) t.equal(scripts[`pre${name}`], 'tsc -b src', name)
  t.equal(scripts['prestart'], 'tsc -b src && npm run --silent bundle')
  const own = tsc('-p', 'src', '--listFilesOnly').map((path) => relative(inProject('.'), path)).filter((path) => !path.startsWith('node_modules/'))
  t.ok(own.includes('src/server.ts'))
  t.strictSame(own.filter((path) => !/^(?:src|migrations)\//.test(path)), [])
  t.match(tsc('-b', 'src', '--dry', '--verbose').join('\n'), /is up to date/)
})
