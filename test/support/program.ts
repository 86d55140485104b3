import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { PATIENCE_MS } from './eventually.js'

// The tests run this file from its source, the scripts from dist/.
const ROOT = new URL(import.meta.url.includes('/dist/test/') ? '../../../' : '../../', import.meta.url)

/** A file of the project, by its path from the top. */
export const inProject = (path: string): string => fileURLToPath(new URL(path, ROOT))

export interface ProgramOptions {
  /** Its arguments; none if left out. */
  readonly args?: readonly string[]
  /** The environment, beside what a process needs to run at all; nothing else is inherited. */
  readonly settings?: Readonly<Record<string, string>>
  /** The working directory; by default a fresh one that is removed in the end. */
  readonly cwd?: string
  /** The folder of another build of the project; this one's `dist` if left out. */
  readonly build?: string | undefined
  /** A command line to start it under, for instance `nsenter …`. */
  readonly under?: readonly string[]
}

export interface Ending {
  /** Null when a signal ended the process. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A folder for one test, removed with it. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'rlm-test-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** Runs a compiled program of the project to its end: `runProgram('src/server.js')`. It fails after {@link PATIENCE_MS}. */
export async function runProgram(path: string, options: ProgramOptions = {}): Promise<Ending> {
  await using folder = options.cwd === undefined ? await temporaryFolder() : null
  return await startProgram(path, { cwd: folder?.path ?? '.', ...options }).end()
}

/** Runs a command of `rlm` that works on the database: `runCommand('migrate')`. */
export function runCommand(name: 'migrate' | 'keys' | 'raise-numbers', options: ProgramOptions = {}): Promise<Ending> {
  return runProgram('src/rlm.js', { ...options, args: [name, ...(options.args ?? [])] })
}

/** Starts a compiled program of the project. */
export function startProgram(path: string, { args = [], settings = {}, cwd = '.', build = inProject('dist'), under = [] }: ProgramOptions): Program {
  return new Program([...under, process.execPath, join(build, path), ...args], settings, cwd)
}

/** No program outlives the test that started it. */
const RUNNING = new Set<Program>()
process.once('exit', () => {
  for (const program of RUNNING) program.signal('SIGKILL')
})

/** A child process and what it said so far. It never outlives this process. */
export class Program {
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<Ending>
  readonly #readers = new Set<() => void>()

  constructor([command = '', ...args]: readonly string[], settings: Readonly<Record<string, string>>, cwd: string) {
    const child = spawn(command, args, { cwd, env: { PATH: process.env['PATH'], ...settings }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      for (const read of this.#readers) read()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    RUNNING.add(this)
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      // `close` and not `exit`: by then everything that it said has been read.
      child.once('close', (code, signal) => {
        RUNNING.delete(this)
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr })
      })
    })
    // Nobody has to wait for the end.
    this.#ended.catch(() => undefined)
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the process did not start')
    return this.#child.pid
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Resolves when the process has ended, for whatever reason; after {@link PATIENCE_MS} it is killed and the promise rejects. */
  end(): Promise<Ending> {
    return this.#within(this.#ended, 'end')
  }

  /** Resolves to the first thing that is found in the standard output; rejects when the process ends before that. */
  find<Found>(search: (stdout: string) => Found | undefined): Promise<Found> {
    let forget: (() => void) | undefined
    const found = new Promise<Found>((resolve, reject) => {
      const read = (): void => {
        const result = search(this.stdout)
        if (result !== undefined) resolve(result)
      }
      this.#readers.add(read)
      forget = () => this.#readers.delete(read)
      read()
      this.#ended.then(({ code, signal }) => reject(this.#failure(`it ended with ${code ?? signal}`)), reject)
    })
    return this.#within(found, 'say what was waited for').finally(forget)
  }

  async #within<Result>(promise: Promise<Result>, what: string): Promise<Result> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.signal('SIGKILL')
        reject(this.#failure(`it did not ${what} within ${PATIENCE_MS} ms`))
      }, PATIENCE_MS)
    })
    try {
      return await Promise.race([promise, late])
    } finally {
      clearTimeout(timer)
    }
  }

  #failure(why: string): Error {
    return new Error(`${this.#child.spawnargs.join(' ')}: ${why}\nstdout: ${this.stdout.slice(-2000)}\nstderr: ${this.stderr.slice(-2000)}`)
  }
}

/**
 * Expects a program to end by itself with code 1 and one sentence for a person, in a line like those of the log, and nothing
 * for a programmer.
 *
 * @returns what stood on its standard error.
 */
export async function refused(t: Test, program: 'server' | 'migrate' | 'keys' | 'raise-numbers', options: ProgramOptions, sentence: RegExp): Promise<string> {
  const { code, stdout, stderr } = await (program === 'server' ? runProgram('src/server.js', options) : runCommand(program, options))
  t.equal(code, 1)
  t.match(fatalSentence(stderr), /^[A-Z][^\n]*\.$/, 'one sentence')
  t.match(fatalSentence(stderr), sentence)
  t.notMatch(stdout + stderr, /\n\s+at |\.[jt]s:\d|Error:/, 'no stack trace')
  return stderr
}

/** The sentence of the one line of the log that stands on the standard error of a program; '' where there is something else. */
export function fatalSentence(stderr: string): string {
  const line = /^(\{.*\})\n$/.exec(stderr)?.[1]
  const { level, time, msg } = JSON.parse(line ?? '{}') as Readonly<Record<string, unknown>>
  return level === 60 && typeof time === 'number' && typeof msg === 'string' ? msg : ''
}

/** One word of a shell's command line, whatever is in it. */
export function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
