import { spawnSync } from 'node:child_process'
import { chown } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.js'
import { Program, temporaryFolder } from '../support/program.js'

/** PostgreSQL refuses to run as root, and so does PgBouncer. */
const NOBODY = 65_534
const asRoot = process.getuid?.() === 0

/** Runs the test where all of these programs are installed, and says so where one is not. */
export function withPrograms(programs: readonly string[], name: string, body: (t: Test) => Promise<void>): void {
  const missing = programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
  if (missing.length === 0) void t.test(name, body)
  else t.pass(`not tested, since ${missing.join(' and ')} cannot be found: ${name}`)
}

export interface Folder extends AsyncDisposable {
  readonly path: string
}

/** A folder for programs that {@link Part.startUnprivileged} starts. */
export async function unprivilegedFolder(): Promise<Folder> {
  const folder = await temporaryFolder()
  await givenToNobody(folder.path)
  return folder
}

export async function givenToNobody(path: string): Promise<void> {
  if (asRoot) await chown(path, NOBODY, NOBODY)
}

/** A program that was started beside the service; ended with SIGTERM when it is disposed of. */
export class Part extends Program implements AsyncDisposable {
  static start(command: readonly string[], cwd: string): Part {
    return new Part(command, { LC_ALL: 'C' }, cwd)
  }

  static startUnprivileged(command: readonly string[], cwd: string): Part {
    return Part.start(asRoot ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--', ...command] : command, cwd)
  }

  /** Resolves once `look` finds something; rejects with what the program said when it ends before. */
  async until<Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found> {
    return await eventually(what, async () => {
      if (!this.alive) throw new Error(`${what}: the program ended\n${this.stdout.slice(-2000)}\n${this.stderr.slice(-2000)}`)
      return await look().catch(() => undefined)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) this.signal('SIGTERM')
    await this.end()
  }
}

/** The text with one part of it replaced, which has to be there exactly once: what is tested is what is documented. */
export function withReplaced(text: string, ...replacements: readonly (readonly [find: string, replace: string])[]): string {
  return replacements.reduce((changed, [find, replace]) => {
    if (changed.split(find).length !== 2) throw new Error(`'${find}' is not there exactly once`)
    return changed.replace(find, () => replace)
  }, text)
}
