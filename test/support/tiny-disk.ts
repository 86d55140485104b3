import { spawnSync } from 'node:child_process'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, temporaryFolder } from './program.js'

/**
 * A disk of two megabytes that a test can fill: a tmpfs in a mount namespace of its own, so that nobody else sees it and
 * nothing is left behind. It needs Linux and the right to make namespaces.
 */
export class TinyDisk implements AsyncDisposable {
  /** Where the disk is mounted for a program that is started with {@link under}. */
  readonly path: string
  /** The beginning of a command line that runs a program where the disk is. */
  readonly under: readonly string[]
  /** The same folder as this process reaches it. */
  readonly #outside: string
  readonly #holder: Program
  readonly #folder: AsyncDisposable

  private constructor(path: string, holder: Program, enter: readonly string[], folder: AsyncDisposable) {
    this.path = path
    this.under = ['nsenter', `--target=${holder.pid}`, ...enter]
    this.#outside = `/proc/${holder.pid}/root${path}`
    this.#holder = holder
    this.#folder = folder
  }

  /** Undefined where it cannot be had. */
  static async make(): Promise<TinyDisk | undefined> {
    const way = [
      { unshare: ['--mount'], enter: ['--mount'] },
      { unshare: ['--mount', '--map-root-user'], enter: ['--mount', '--user', '--preserve-credentials'] }
    ].find(({ unshare }) => spawnSync('unshare', [...unshare, 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp']).status === 0)
    if (way === undefined) return undefined
    const folder = await temporaryFolder()
    const script = 'mount -t tmpfs -o size=6m tmpfs "$0" && echo mounted && exec sleep 600'
    const holder = new Program(['unshare', ...way.unshare, 'sh', '-c', script, folder.path], {}, '/')
    await holder.find((stdout) => stdout.includes('mounted') || undefined)
    return new TinyDisk(folder.path, holder, way.enter, folder)
  }

  /** Takes all the room there is. */
  async fill(): Promise<void> {
    for (let room = await this.#room(); room > 0; room = await this.#room()) {
      await writeFile(join(this.#outside, 'filler'), Buffer.alloc(room), { flag: 'a' })
    }
  }

  async empty(): Promise<void> {
    await rm(join(this.#outside, 'filler'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.signal('SIGKILL')
    await this.#holder.end()
    await this.#folder[Symbol.asyncDispose]()
  }

  async #room(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#outside)
    return bavail * bsize
  }
}
