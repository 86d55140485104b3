/** A lock that somebody took so many seconds before the picture. */
interface Held {
  readonly name: string
  readonly by: string
  readonly ago: number
  readonly ttl?: number
  /** Renewed each third of its lease, so often at most. */
  readonly renews?: number
  readonly metadata?: object
  /** Of a share: how many permits there are, and how many it takes. */
  readonly limit?: number
  readonly permits?: number
}

const ALWAYS = Infinity

/** What a company of some size may have locked on an ordinary afternoon. */
export const HELD: readonly Held[] = [
  { name: 'maintenance window', by: 'ops: helga', ago: 9720, metadata: { ticket: 'OPS-2291', until: '18:00' } },
  { name: 'deploy/production', by: 'ci-runner-4', ago: 2851, ttl: 900, renews: ALWAYS, metadata: { commit: '4f1c09e', pipeline: 18841, branch: 'main' } },
  { name: 'deploy/staging', by: 'ci-runner-2', ago: 258, ttl: 300, renews: ALWAYS },
  { name: 'deploy/preview-412', by: 'ci-runner-7', ago: 131, ttl: 300 },
  { name: 'gpu/a100', by: 'trainer-3.eu-west', ago: 1204, ttl: 300, renews: ALWAYS, limit: 4, metadata: { model: 'ranking' } },
  { name: 'gpu/a100', by: 'trainer-5.eu-west', ago: 612, ttl: 300, renews: ALWAYS, limit: 4, permits: 2 },
  { name: 'jobs/search-reindex', by: 'worker-3.eu-west', ago: 2267, ttl: 120, renews: ALWAYS },
  { name: 'jobs/nightly-report', by: 'worker-7.eu-west', ago: 318, ttl: 60, renews: ALWAYS },
  { name: 'jobs/invoice-run', by: 'worker-1.eu-west', ago: 171, ttl: 90, renews: ALWAYS },
  { name: 'jobs/mail-digest', by: 'worker-2.eu-west', ago: 66, ttl: 60, renews: ALWAYS },
  { name: 'jobs/thumbnails', by: 'worker-5.eu-west', ago: 109, ttl: 60, renews: 3 },
  { name: 'tenants/acme/migration', by: 'migrator-0', ago: 149, ttl: 120, renews: ALWAYS },
  { name: 'tenants/globex/export', by: 'exporter-2', ago: 52, ttl: 60 },
  { name: 'documents/contract-8812', by: 'anna@acme.example', ago: 186, ttl: 300 },
  { name: 'documents/price-list-2027', by: 'li.wei@acme.example', ago: 121, ttl: 300 },
  { name: 'documents/règlement-intérieur', by: 'chloé@acme.example', ago: 64, ttl: 300 },
  { name: 'orders/10377', by: 'checkout-3', ago: 236, ttl: 600 },
  { name: 'seats/hall-2/12B', by: 'booking 90217', ago: 41, ttl: 60 },
  { name: 'seats/hall-2/12C', by: 'booking 90217', ago: 41, ttl: 60 },
  { name: 'seats/hall-1/4A', by: 'booking 90224', ago: 12, ttl: 60 },
  { name: 'seats/hall-1/9F', by: 'booking 90203', ago: 84, ttl: 60 }
]

/** Locks that came to their end before the picture. */
export const PAST: readonly { readonly name: string; readonly by: string; readonly ago: number; readonly until: number; readonly takenAway?: string }[] = [
  { name: 'deploy/production', by: 'ci-runner-6', ago: 8130, until: 7420 },
  { name: 'deploy/production', by: 'ci-runner-2', ago: 5310, until: 3480, takenAway: 'ci-runner-2 lost its network' },
  { name: 'deploy/production', by: 'ci-runner-8', ago: 3470, until: 2960 }
]

export const WAITING: readonly { readonly name: string; readonly by: string; readonly ago: number }[] = [
  { name: 'deploy/production', by: 'ci-runner-1', ago: 412 },
  { name: 'deploy/production', by: 'ci-runner-9', ago: 288 },
  { name: 'tenants/acme/migration', by: 'exporter-1', ago: 140 },
  { name: 'deploy/production', by: 'ci-runner-3', ago: 77 },
  { name: 'jobs/nightly-report', by: 'worker-4.eu-west', ago: 49 },
  { name: 'deploy/production', by: 'rollback-bot', ago: 26 },
  { name: 'jobs/nightly-report', by: 'worker-8.eu-west', ago: 8 }
]
