/** What the processes of the benchmark tell each other. */

export interface ServerSpec {
  readonly kind: 'map' | 'fastify' | 'service' | 'naive' | 'redis'
  readonly databaseUrl?: string
  readonly redisPort?: number
  readonly keepsHistory?: boolean
  /** Whether the sweeper runs by itself, as it does by default. */
  readonly sweeps: boolean
}

export type Order = 'reset' | 'usage' | 'sweep' | 'stop'

/** How busy a server was since it was last asked to begin anew. */
export interface Usage {
  /** How late its event loop was at most, in milliseconds. */
  readonly heldUpMs: number
  /** The processor time of the server's own process, its threads included, in microseconds. */
  readonly cpuMicros: number
}

export interface Report {
  readonly port?: number
  readonly usage?: Usage
  readonly sweptInMs?: number
}

export interface LoadSpec {
  /**
   * `pairs` acquires and releases, `redis-pairs` without HTTP and the two of etcd by its gateway; `renew` renews a lock for each
   * connection, `renew-many` all names, a hundred with a request; `wait` waits in line; `status` and `list` read.
   */
  readonly what: 'pairs' | 'redis-pairs' | 'etcd-lock' | 'etcd-put' | 'renew' | 'renew-many' | 'wait' | 'status' | 'list'
  readonly port: number
  readonly connections: number
  /** How many names there are; 1 is one hot name. */
  readonly names: number
  readonly prefix: string
  /** What else the body of a request says, as JSON that follows a field. */
  readonly asks?: string
  readonly warmUpMs: number
  readonly measureMs: number
}

export interface LoadResult {
  readonly requestsPerSecond: number
  /** All answers, those of the warm-up included. */
  readonly answers: number
  /** Latencies in milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Answers by their status; for Redis 200 and 409. */
  readonly statuses: Readonly<Record<string, number>>
}
