import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { inProject, temporaryFolder } from '../support/program.js'
import { rlm, rlmHere, startRlm } from '../support/rlm.js'

t.jobs = 3
const COMMANDS = ['run', 'lock', 'ls', 'status', 'release', 'force-release', 'history', 'serve', 'migrate', 'keys', 'doctor', 'raise-numbers', 'completion']

void t.test('rlm tells what it can do', async (t) => {
  t.match(await rlm(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
  const { code, stdout, stderr } = await rlmHere(['--help'])
  t.match({ code, stderr }, { code: 0, stderr: '' })
  for (const name of COMMANDS) t.match(stdout, new RegExp(`^ {2}${name} +[A-Z]`, 'm'))
  t.match(await rlmHere([]), { code: 64, stdout: '', stderr: 'rlm: A command is missing\nTry: rlm --help\n' })
  for (const name of ['lend', 'constructor']) t.match(await rlmHere([name]), { code: 64, stderr: `rlm: There is no command '${name}'\nTry: rlm --help\n` })
})

void t.test('every command has its help', async (t) => {
  for (const name of COMMANDS) {
    t.match(await rlmHere([name, '--help']), { code: 0, stdout: new RegExp(`^Usage: rlm ${name}\\b`), stderr: '' })
  }
  t.match(await rlmHere(['ls', 'a', 'b']), { code: 64, stderr: "rlm: 'b' is one name too many\nTry: rlm ls --help\n" })
})

void t.test('help NAME is the help of a command', async (t) => {
  t.strictSame(await rlmHere(['help', 'run']), await rlmHere(['run', '--help']))
  t.strictSame(await rlmHere(['help']), await rlmHere(['--help']))
  t.match(await rlmHere(['help', 'lend']), { code: 64, stderr: /^rlm: There is no command 'lend'\n/ })
})

void t.test('shells complete commands, options and their words', async (t) => {
  for (const shell of ['bash', 'zsh']) {
    const { code, stdout } = await rlmHere(['completion', shell])
    t.equal(code, 0)
    for (const name of COMMANDS) t.match(stdout, new RegExp(`\\b${name}\\b`))
    const checked = spawnSync(shell, ['-n'], { input: stdout, encoding: 'utf8' })
    // Where there is such a shell.
    if (checked.error === undefined) t.match({ status: checked.status, stderr: checked.stderr }, { status: 0, stderr: '' })
  }
  const complete = (...words: string[]): string[] => {
    const script = `eval "$(cat)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rlm; printf '%s\\n' "\${COMPREPLY[@]}"`
    return spawnSync('bash', ['-c', script, 'bash', ...words], { input: completion, encoding: 'utf8' }).stdout.trim().split('\n')
  }
  const completion = (await rlmHere(['completion', 'bash'])).stdout
  t.strictSame(complete('rlm', 'st'), ['status'])
  t.strictSame(complete('rlm', 'run', 'x', '--on-l'), ['--on-lost'])
  t.strictSame(complete('rlm', 'run', 'x', '--on-lost', ''), ['kill', 'warn'])
  t.strictSame(complete('rlm', 'run', 'x', '--on-revoke', ''), ['TERM', 'USR1'])
  t.strictSame(complete('rlm', 'keys', 're'), ['revoke'])
  t.strictSame(complete('rlm', 'completion', ''), ['bash', 'zsh', '--help'])
  t.ok(complete('rlm', 'run', 'x', '--', 'bas').includes('bash'))
  t.match(await rlmHere(['completion', 'fish']), { code: 64 })
})

void t.test('serve is the service, in the same process', async (t) => {
  await using folder = await temporaryFolder()
  const serving = startRlm(['serve'], { cwd: folder.path, settings: { PORT: '0' } })
  const url = await serving.find((stdout) => /Server listening at (http:[^"]+)/.exec(stdout)?.[1])
  t.match(await rlm(['run', 'x', '--', 'true'], { url }), { code: 0 })
  serving.signal('SIGTERM')
  t.match(await serving.end(), { code: 0, stderr: '' })
  t.match(await rlmHere(['serve', '--port', '1']), { code: 64, stderr: /^rlm: Unknown option '--port'\nTry: rlm serve --help/ })
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
  t.match(readFileSync(inProject(bin.rlm), 'utf8'), /^#!\/usr\/bin\/env sh\n/)
  const { status, stdout } = spawnSync('npx', ['--no-install', 'rlm', '--version'], { cwd: inProject('.'), encoding: 'utf8' })
  t.match({ status, stdout }, { status: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.end()
})
