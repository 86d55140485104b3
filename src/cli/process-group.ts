import { spawn, type ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, exitOfSignal } from './exit-codes.js'

const LOOK_EVERY_MS = 20

/**
 * A command with everything that it starts: the leader of a session and process group of its own, so that a signal reaches all
 * of them and nobody else. Its standard streams are this process's.
 */
export class ProcessGroup {
  /** What the command ended with, as a shell counts. What it left running does not matter. */
  readonly ended: Promise<number>
  readonly #id: number
  #gone = false

  private constructor(child: ChildProcess, id: number) {
    this.#id = id
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal === null ? (code ?? EXIT.internal) : exitOfSignal(signal)))
    })
  }

  /** Rejects with what the system said when the command cannot be run. */
  static async start([file = '', ...args]: readonly string[], env: NodeJS.ProcessEnv): Promise<ProcessGroup> {
    const child = spawn(file, args, { env, stdio: 'inherit', detached: true })
    return await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('spawn', () => {
        // Later errors are about signals, which are sent to the group instead.
        child.removeAllListeners('error').on('error', () => undefined)
        if (child.pid !== undefined) resolve(new ProcessGroup(child, child.pid))
      })
    })
  }

  /** @returns false when nobody is left to get it. */
  signal(name: NodeJS.Signals | 0): boolean {
    // Once nobody is left, the number may be given to somebody else.
    if (this.#gone) return false
    try {
      process.kill(-this.#id, name)
    } catch (error) {
      // EPERM: somebody is there who may not be touched.
      this.#gone = error instanceof Error && 'code' in error && error.code === 'ESRCH'
    }
    return !this.#gone
  }

  /** Asks all to end, and makes those end that are left after so many milliseconds. Resolves when the command itself has ended. */
  async stop(graceMs: number): Promise<void> {
    if (graceMs > 0) {
      this.signal('SIGTERM')
      // One that is stopped hears of it when it goes on.
      this.signal('SIGCONT')
    }
    await this.clear(graceMs)
    await this.ended
  }

  /** Waits until nobody is left, and makes those end that are after so many milliseconds. */
  async clear(graceMs: number): Promise<void> {
    for (const deadline = performance.now() + graceMs; performance.now() < deadline && this.signal(0); ) {
      await sleep(Math.max(1, Math.min(LOOK_EVERY_MS, deadline - performance.now())))
    }
    this.signal('SIGKILL')
  }
}
