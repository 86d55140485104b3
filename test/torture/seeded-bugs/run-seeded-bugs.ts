import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { catchersOf, nameOfCatcher, SEEDED_BUGS, type Catcher, type SeededBug } from './bugs.js'
import { patchedCopy } from './patching.js'

/** How long a test waits for what a bug keeps from coming. */
const LIMITS = { TEST_PATIENCE_MS: '30000', TAP_TIMEOUT: '90' }

/** How long a program that has said what it must may take to end by itself, and its servers with it. */
const GRACE_MS = 20_000

const TORTURE = ['--until-violation', '--minutes', '3', '--epoch-seconds', '6', '--clients', '16']

/*
 * Puts one bug after another into a copy of the compiled service and runs what must find it: `npm run seeded-bugs`, or
 * `npm run seeded-bugs -- renewal` for those with that word in their title. Fails when a bug gets away.
 */
async function main([word = '']: readonly string[]): Promise<void> {
  let escaped = 0
  for (const bug of SEEDED_BUGS.filter(({ title }) => title.includes(word))) {
    for (const catcher of catchersOf(bug)) {
      const began = Date.now()
      const caught = await isCaught(bug, catcher)
      if (!caught) escaped += 1
      process.stdout.write(`${caught ? 'caught ' : 'ESCAPED'} ${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  ${bug.title}: ${nameOfCatcher(catcher)}\n`)
    }
  }
  process.exitCode = escaped === 0 ? 0 : 1
}

async function isCaught({ patches }: SeededBug, { caughtBy, says }: Catcher): Promise<boolean> {
  await using copy = await patchedCopy(patches)
  const command = 'test' in caughtBy ? [`dist/test/${caughtBy.test}`] : ['dist/test/torture/run-torture.js', '--database', caughtBy.torture, ...TORTURE]
  const child = spawn(process.execPath, command, { cwd: copy.path, env: { ...process.env, ...LIMITS, TMPDIR: copy.path }, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let caught = false
  let impatience: NodeJS.Timeout | undefined
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      if (caught || !says.test(said)) return
      caught = true
      // The other tests of the file may wait a long time for what never comes.
      impatience = setTimeout(() => child.kill('SIGKILL'), GRACE_MS)
    })
  }
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(impatience)
  if (!caught) process.stdout.write(`exit code ${code}; the last that was said:\n${said.slice(-2000)}\n`)
  return caught
}

await main(process.argv.slice(2))
