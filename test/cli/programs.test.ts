import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { inProject, temporaryFolder } from '../support/program.js'
import { rlm, rlmHere, startRlm } from '../support/rlm.js'

t.jobs = 3
const COMMANDS = ['run', 'ls', 'status', 'release', 'force-release', 'history', 'serve', 'migrate', 'keys', 'doctor']

void t.test('rlm tells what it can do', async (t) => {
  t.match(await rlm(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
  const { code, stdout, stderr } = await rlmHere(['--help'])
  t.match({ code, stderr }, { code: 0, stderr: '' })
  for (const name of COMMANDS) t.match(stdout, new RegExp(`^ {2}${name} +[A-Z]`, 'm'))
  t.match(await rlmHere([]), { code: 64, stdout: '', stderr: 'rlm: A command is missing\nTry: rlm --help\n' })
  for (const name of ['lock', 'constructor']) t.match(await rlmHere([name]), { code: 64, stderr: `rlm: There is no command '${name}'\nTry: rlm --help\n` })
})

void t.test('every command has its help', async (t) => {
  for (const name of COMMANDS.filter((name) => name !== 'keys')) {
    t.match(await rlmHere([name, '--help']), { code: 0, stdout: new RegExp(`^Usage: rlm ${name}\\b`), stderr: '' })
  }
  t.match(await rlmHere(['ls', 'a', 'b']), { code: 64, stderr: "rlm: 'b' is one name too many\nTry: rlm ls --help\n" })
})

void t.test('serve is the service, in the same process', async (t) => {
  await using folder = await temporaryFolder()
  const serving = startRlm(['serve'], { cwd: folder.path, settings: { PORT: '0' } })
  const url = await serving.find((stdout) => /Server listening at (http:[^"]+)/.exec(stdout)?.[1])
  t.match(await rlm(['run', 'x', '--', 'true'], { url }), { code: 0 })
  serving.signal('SIGTERM')
  t.match(await serving.end(), { code: 0, stderr: '' })
  t.match(await rlmHere(['serve', '--port', '1']), { code: 64, stderr: /^rlm: serve takes nothing/ })
})

void t.test('migrate brings the database up to date', async (t) => {
  await using folder = await temporaryFolder()
  const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:locks.db' } }
  t.match(await rlm(['migrate'], options), { code: 0, stdout: /^Applied 0001/ })
  t.match(await rlm(['migrate'], options), { code: 0, stdout: 'The database is up to date.\n' })
  t.match(await rlmHere(['migrate', 'now']), { code: 64, stdout: '' })
})

void t.test('npx finds rlm', (t) => {
  const { bin } = JSON.parse(readFileSync(inProject('package.json'), 'utf8')) as { bin: { rlm: string } }
  t.ok(existsSync(inProject(bin.rlm)))
  t.match(readFileSync(inProject(bin.rlm), 'utf8'), /^#!\/usr\/bin\/env node\n/)
  const { status, stdout } = spawnSync('npx', ['--no-install', 'rlm', '--version'], { cwd: inProject('.'), encoding: 'utf8' })
  t.match({ status, stdout }, { status: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.end()
})
