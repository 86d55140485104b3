import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { eventually } from './eventually.js'
import { inProject } from './program.js'
import { shellWord } from './shell.js'

/** Ends as a shell would: with 128+n after signal n. */
const IN_PYTHON = `import os, pty, sys
code = os.waitstatus_to_exitcode(pty.spawn(["/bin/sh", "-c", sys.argv[1]]))
sys.exit(code if code >= 0 else 128 - code)`

/** Ways to run a command in a pseudo terminal, of which some are everywhere: util-linux has the first, whatever compiles for Node the second. */
const WAYS = [
  { probe: ['script', '--version'], finds: /util-linux/, start: (command: string) => ['script', '-qefc', command, '/dev/null'] },
  {
    probe: ['python3', '-c', 'import pty; print("pty")'],
    finds: /pty/,
    start: (command: string) => ['python3', '-c', IN_PYTHON, command]
  }
]

/** `rlm` in a pseudo terminal, with somebody who types and reads. */
export class Terminal implements AsyncDisposable {
  /** All that was shown so far, with the controls in it. */
  shown = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<number>

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.shown += text))
    child.stdin?.on('error', () => undefined)
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve(code ?? -1))
    })
    this.#ended.catch(() => undefined)
  }

  /** Runs `rlm`. Throws where there is no way to have a pseudo terminal. */
  static rlm(args: readonly string[], settings: Readonly<Record<string, string>>): Terminal {
    return Terminal.run((rlm) => [...rlm, ...args], settings)
  }

  /** Runs a command line that has `rlm` in it. */
  static run(commandLine: (rlm: readonly string[]) => readonly string[], settings: Readonly<Record<string, string>>): Terminal {
    const command = `exec ${commandLine([process.execPath, inProject('dist/src/rlm.js')]).map(shellWord).join(' ')}`
    const way = WAYS.find(({ probe: [program = '', ...rest], finds }) => finds.test(spawnSync(program, rest, { encoding: 'utf8' }).stdout ?? ''))
    if (way === undefined) throw new Error('a terminal takes script (util-linux) or python3')
    const [program = '', ...rest] = way.start(command)
    const env = { PATH: process.env['PATH'], SHELL: '/bin/sh', TERM: 'xterm', ...settings }
    return new Terminal(spawn(program, rest, { env, stdio: ['pipe', 'pipe', 'inherit'] }))
  }

  type(text: string): void {
    this.#child.stdin?.write(text)
  }

  /** Control and that letter. */
  control(letter: string): void {
    this.type(String.fromCodePoint((letter.toUpperCase().codePointAt(0) ?? 0) - 64))
  }

  async until(text: RegExp): Promise<void> {
    try {
      await eventually(`the terminal shows ${String(text)}`, () => Promise.resolve(text.test(this.shown) || undefined))
    } catch (error) {
      throw new Error(`it shows ${JSON.stringify(this.shown)}`, { cause: error })
    }
  }

  /** The exit code of what ran in it. */
  end(): Promise<number> {
    return this.#ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // With its terminal gone, what ran in it is told to hang up.
    this.#child.kill('SIGKILL')
    await this.#ended
  }
}
