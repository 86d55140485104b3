/** What the processes of the benchmark tell each other. */

export interface ServerSpec {
  readonly kind: 'map' | 'service' | 'naive' | 'redis'
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
  /** `pairs` acquires and releases; `redis-pairs` does so without HTTP; `status` and `list` read. */
  readonly what: 'pairs' | 'redis-pairs' | 'status' | 'list'
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
