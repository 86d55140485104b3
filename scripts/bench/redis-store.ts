import { Redis } from 'ioredis'
import type { AcquireCommand, AcquireOutcome, ReleaseCommand, ReleaseOutcome } from '../../src/locks/commands.js'
import type { Grant, ProcessId, ResourceName } from '../../src/locks/lock.js'
import type { TakeAndGive } from './plain-store.js'

/** Deletes only the caller's own lock, as Redis's manual has it. */
const RELEASE = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end`
const NO_EXPIRY_MS = 365 * 86_400_000

export interface RedisLocks {
  readonly take: (name: string, owner: string, ttlMs: number | null) => Promise<boolean>
  readonly give: (name: string, owner: string) => Promise<boolean>
  readonly close: () => Promise<void>
}

/** Locks in a Redis: `SET NX PX`, and a delete that checks the owner. */
export async function openRedis(port: number): Promise<RedisLocks> {
  const redis = new Redis({ host: '127.0.0.1', port, scripts: { releaseOwned: { lua: RELEASE, numberOfKeys: 1 } } })
  // It connects again by itself: the server may just have been started.
  redis.on('error', () => undefined)
  await redis.ping()
  const client = redis as Redis & { releaseOwned: (name: string, owner: string) => Promise<number> }
  return {
    take: async (name, owner, ttlMs) => (await redis.set(name, owner, 'PX', ttlMs ?? NO_EXPIRY_MS, 'NX')) === 'OK',
    give: async (name, owner) => (await client.releaseOwned(name, owner)) === 1,
    close: async () => void (await redis.quit())
  }
}

/** A refusal does not ask who holds the lock: that would cost Redis a second round trip. */
export function behindHttp(redis: RedisLocks): TakeAndGive {
  return {
    async acquire({ resourceNames: [name], processId, ttlMs }: AcquireCommand): Promise<AcquireOutcome> {
      if (name === undefined) throw new Error('no name')
      const taken = await redis.take(name, processId, ttlMs)
      const grant = grantOf(name, processId, ttlMs)
      return taken ? { kind: 'granted', grants: [grant], replayed: false } : { kind: 'held', conflicts: [grant], at: grant.lockedAt, waiters: 0 }
    },
    async release({ resourceName, processId }: ReleaseCommand): Promise<ReleaseOutcome> {
      const owner = processId ?? ('' as ProcessId)
      if (!(await redis.give(resourceName, owner))) return { kind: 'not-held', reason: 'not_locked' }
      return { kind: 'released', grant: grantOf(resourceName, owner, null), releasedAt: Date.now() }
    },
    [Symbol.asyncDispose]: () => redis.close()
  }
}

function grantOf(resourceName: ResourceName, processId: ProcessId, ttlMs: number | null): Grant {
  const now = Date.now()
  return { lockId: 1, resourceName, processId, lockedAt: now, expiresAt: ttlMs === null ? null : now + ttlMs, metadata: null }
}
