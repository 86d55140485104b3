import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../postgres-server.js'
import { openRedis } from './redis-store.js'

/** Another lock system, on a port of its own. */
export interface Peer extends AsyncDisposable {
  readonly port: number
  readonly pid: number
  readonly version: string
}

const START_TIMEOUT_MS = 20_000

/**
 * A Redis whose locks are gone with it (`memory`), or one that flushes before each answer (`disk`); undefined where no
 * `redis-server` is on the PATH.
 */
export async function startRedis(folder: string, kept: 'memory' | 'disk'): Promise<Peer | undefined> {
  const version = versionOf('redis-server', /v=(\S+)/)
  if (version === undefined) return undefined
  const files = `${folder}/redis-${kept}`
  await mkdir(files)
  const port = await freePort()
  const appendOnly = kept === 'disk' ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', files, '--save', '', ...appendOnly], { stdio: 'ignore' })
  const redis = await openRedis(port)
  await redis.close()
  return peer(child, port, version)
}

/** An etcd of one member; undefined where there is none on the PATH. */
export async function startEtcd(folder: string): Promise<Peer | undefined> {
  const version = versionOf('etcd', /etcd Version: (\S+)/)
  if (version === undefined) return undefined
  const port = await freePort()
  const [client, member] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${await freePort()}`]
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', member, '--initial-advertise-peer-urls', member]
  const child = spawn('etcd', ['--data-dir', `${folder}/etcd`, ...urls, '--initial-cluster', `default=${member}`], { stdio: 'ignore' })
  for (const deadline = Date.now() + START_TIMEOUT_MS; ; await sleep(100)) {
    const response = await fetch(`${client}/health`).catch(() => undefined)
    if (response?.ok === true) return peer(child, port, version)
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('etcd did not start')
  }
}

function versionOf(program: string, pattern: RegExp): string | undefined {
  const said = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return said.status === 0 ? (pattern.exec(said.stdout)?.[1] ?? 'unknown') : undefined
}

function peer(child: ChildProcess, port: number, version: string): Peer {
  return {
    port,
    version,
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.kill()
      await ended
    }
  }
}
