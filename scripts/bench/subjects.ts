import { spawnSync } from 'node:child_process'
import type { Peer } from './peers.js'
import type { Subject } from './rounds.js'
import type { Surroundings } from './surroundings.js'

export const CEILING: Subject = { title: 'Map (the ceiling)', spec: { kind: 'map', sweeps: false } }
export const BARE: Subject = { title: 'bare Fastify app', spec: { kind: 'fastify', sweeps: false } }

export const NAMES: Readonly<Record<'sqlite' | 'postgres', string>> = { sqlite: 'SQLite', postgres: 'PostgreSQL' }

export async function service({ freshUrl, postgres }: Surroundings, kind: 'sqlite' | 'postgres', title: string, keepsHistory = true): Promise<Subject> {
  const spec = { kind: 'service', databaseUrl: await freshUrl(kind), keepsHistory, sweeps: true } as const
  return { title, spec, pids: kind === 'postgres' ? [postgres.pid] : [] }
}

export async function services(around: Surroundings): Promise<Subject[]> {
  return [await service(around, 'sqlite', 'this service, SQLite'), await service(around, 'postgres', 'this service, PostgreSQL')]
}

/** The other builds, named by the commits of their checkouts. */
export async function otherBuilds(around: Surroundings): Promise<Subject[]> {
  const subjects: Subject[] = []
  for (const kind of ['sqlite', 'postgres'] as const) {
    for (const build of around.against) subjects.push({ ...(await service(around, kind, `${commitOf(build)}, ${NAMES[kind]}`)), build })
  }
  return subjects
}

function commitOf(build: string): string {
  return spawnSync('git', ['-C', build, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim() || build
}

export async function naives({ freshUrl, postgres }: Surroundings): Promise<Subject[]> {
  return [
    { title: 'naive transaction, SQLite', spec: { kind: 'naive', databaseUrl: await freshUrl('sqlite'), sweeps: false } },
    { title: 'naive transaction, PostgreSQL', spec: { kind: 'naive', databaseUrl: await freshUrl('postgres'), sweeps: false }, pids: [postgres.pid] }
  ]
}

export function peers({ redis, durableRedis, etcd }: Surroundings): Subject[] {
  return [
    ...(redis === undefined ? [] : [redisBehindApp('in memory', redis)]),
    ...(durableRedis === undefined ? [] : [redisBehindApp('appendfsync always', durableRedis)]),
    ...(redis === undefined ? [] : [redisAlone('in memory', redis)]),
    ...(durableRedis === undefined ? [] : [redisAlone('appendfsync always', durableRedis)]),
    ...(etcd === undefined ? [] : [etcdBy('etcd-lock', 'its lock', etcd), etcdBy('etcd-put', 'put if absent', etcd)])
  ]
}

function redisBehindApp(kept: string, { port, pid }: Peer): Subject {
  return { title: `Redis behind the same app, ${kept}`, spec: { kind: 'redis', redisPort: port, sweeps: false }, pids: [pid] }
}

function redisAlone(kept: string, { port, pid }: Peer): Subject {
  return { title: `Redis without HTTP, ${kept}`, direct: { what: 'redis-pairs', port }, pids: [pid] }
}

function etcdBy(what: 'etcd-lock' | 'etcd-put', how: string, { port, pid }: Peer): Subject {
  return { title: `etcd by its HTTP gateway, ${how}`, direct: { what, port }, pids: [pid], onlyRandom: true }
}
