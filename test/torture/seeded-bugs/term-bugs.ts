import type { SeededBug } from './bugs.js'

const ROWS = 'storage/share-rows.js'
const RESOURCE = 'storage/shared-resource.js'
const CONTRACT = { test: 'storage/terms.test.js' }

/** Ways in which what is kept after a release, lock delays and revocations could be wrong. */
export const TERM_BUGS: readonly SeededBug[] = [
  {
    title: 'a release that keeps frees at once',
    patches: [{ file: RESOURCE, find: 'if (until > at &&', replace: 'if (false &&' }],
    caughtBy: CONTRACT,
    says: /not ok .*a release that keeps ends the grant at once/,
    also: { caughtBy: { torture: 'sqlite' }, says: /no order explains the answers/ }
  },
  {
    title: 'the sweeper takes what is kept for expired',
    patches: [{ file: ROWS, find: 'share.end_reason === null ? heldEndOf(share) : share.expires_at', replace: 'heldEndOf(share)' }],
    caughtBy: CONTRACT,
    says: /not ok .*the sweeper leaves alone what is kept/
  },
  {
    title: 'what was released and is kept is held again when the clock is set back',
    patches: [
      { file: ROWS, find: 'ended: share.end_reason ?? ', replace: 'ended: share.is_active ? null : share.end_reason ?? ' },
      { file: ROWS, find: 'share.end_reason === null && (share.held_until === null', replace: '(share.held_until === null' }
    ],
    caughtBy: CONTRACT,
    says: /not ok .*a clock that is set back gives nobody back what was released/
  },
  {
    title: 'a lease is renewed during its lock delay',
    patches: [{ file: ROWS, find: 'return held_until ?? expires_at;', replace: 'return expires_at;' }],
    caughtBy: CONTRACT,
    says: /not ok .*after a lease that ended by itself or was taken away/
  },
  {
    title: 'force does not free what is kept',
    patches: [{ file: RESOURCE, find: '&& isHeldShare(share, this.row, at)) {', replace: ') {' }],
    caughtBy: CONTRACT,
    says: /not ok .*after a lease that ended by itself or was taken away/
  },
  {
    title: 'what is taken away within its lock delay is said to have been held until then',
    patches: [{ file: RESOURCE, find: 'hasPassed(share, at) ? this.noteExpiry(share) : share', replace: 'share' }],
    caughtBy: CONTRACT,
    says: /not ok .*what is taken away within its lock delay had expired/
  },
  {
    title: 'a renewal moves the end past the grace of a revocation',
    patches: [{ file: RESOURCE, find: 'earlier(leaseEnd(this.at, ttl_ms), share.revoke_at)', replace: 'leaseEnd(this.at, ttl_ms)' }],
    caughtBy: CONTRACT,
    says: /not ok .*no renewal moves a revoked grant past the grace/
  },
  {
    title: 'a second revocation gives more time',
    patches: [{ file: RESOURCE, find: 'share.revoke_at ?? Infinity', replace: 'Infinity' }],
    caughtBy: CONTRACT,
    says: /not ok .*no renewal moves a revoked grant past the grace/
  },
  {
    title: 'a lock that is converted is revoked no longer',
    patches: [{ file: RESOURCE, find: 'return this.grantAnew(share, sharing, number);', replace: 'return this.grantAnew({ ...share, ...NO_TERMS, expires_at: null }, sharing, number);' }],
    caughtBy: CONTRACT,
    says: /not ok .*no renewal moves a revoked grant past the grace/
  }
]
