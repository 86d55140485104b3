import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { main } from '../../src/cli/main.js'
import { eventually } from './eventually.js'
import { type Ending, inProject, type Program, shellWord, startProgram, temporaryFolder } from './program.js'

/** What a command of `rlm` may need beside its arguments. */
export interface RlmOptions {
  /** The service that it talks to. */
  readonly url?: string
  readonly settings?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Starts `rlm` as a process of its own, without a terminal. */
export function startRlm(args: readonly string[], { url, settings = {}, cwd = '.' }: RlmOptions = {}): Program {
  return startProgram('src/rlm.js', { args, cwd, settings: { ...(url === undefined ? {} : { RLM_URL: url }), ...settings } })
}

/** Runs `rlm` to its end. */
export async function rlm(args: readonly string[], options: RlmOptions = {}): Promise<Ending> {
  await using folder = options.cwd === undefined ? await temporaryFolder() : null
  return await startRlm(args, { cwd: folder?.path ?? '.', ...options }).end()
}

/** Runs what needs no process of its own in this one, without a terminal: the same, faster. */
export async function rlmHere(args: readonly string[], { url, settings = {} }: RlmOptions = {}): Promise<Pick<Ending, 'code' | 'stdout' | 'stderr'>> {
  const said = { stdout: '', stderr: '' }
  const env = { ...(url === undefined ? {} : { RLM_URL: url }), ...settings }
  const writer = (name: keyof typeof said) => ({ write: (text: string) => (said[name] += text) })
  const outcome = await main(args, { env, stdout: writer('stdout'), stderr: writer('stderr') })
  if (outcome.kind === 'serve') throw new Error('the service would run in this process')
  return { code: outcome.code, ...said }
}

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

/** No worker outlives a test by more than this. */
const LIFE_MS = 600_000

const PROGRAM = `
  const { appendFileSync } = require('node:fs')
  const beat = (what) => appendFileSync(process.argv[1], Date.now() + ' ' + what + '\\n')
  process.on('SIGTERM', () => beat('TERM'))
  setInterval(() => beat('work'), 20)
  setTimeout(() => process.exit(), ${LIFE_MS})`

/** A process that writes down when it works, and goes on when it is asked to end. */
export class Worker {
  readonly #file: string

  constructor(folder: string, name: string) {
    this.#file = join(folder, name)
  }

  /** The command line that runs it, for a shell. */
  get shellCommand(): string {
    return [process.execPath, '-e', PROGRAM, this.#file].map(shellWord).join(' ')
  }

  /** When it worked, by the wall clock, and when it was asked to end. */
  get beats(): readonly { readonly at: number; readonly what: string }[] {
    if (!existsSync(this.#file)) return []
    const text = readFileSync(this.#file, 'utf8')
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => ({ at: Number(line.split(' ')[0]), what: line.split(' ')[1] ?? '' }))
  }

  get lastAt(): number {
    return this.beats.at(-1)?.at ?? 0
  }

  async untilAtWork(): Promise<void> {
    const before = this.beats.length
    await eventually('the worker works', () => Promise.resolve(this.beats.length > before || undefined))
  }
}
