

/**
 * The terms of the engine.
 *
 * - **resource**: what a caller wants, alone or beside others, identified by its name.
 * - **holder**: the process that holds a resource, identified by its process id.
 * - **share**: a grant beside which others may be valid. Each states how many **permits** may be held at the same time, its own
 *   included, and takes some of them; an exclusive grant states 1. Permits that are counted have numbers, the **slots**.
 * - **grant**: one acquisition, from being granted until it is released, expires or is taken away.
 * - **lock id**: the number of a grant. Each grant of a resource has a larger one than every earlier grant of it, forever;
 *   this makes it the **fencing token**.
 * - **lease**: the time a grant lasts, its TTL. **Renewing** moves its end and keeps its number; **restarting** the lease
 *   also counts the grant from now on, as if it had just been granted.
 * - **kept**: of a resource that nobody holds and nobody is granted for a while, after a release or a lease that ended.
 * - **waiter**: a request that waits for its grant. Its **ticket** is its place in the **queue** of each resource it wants.
 * - **key**: the name of the API key with which a request was made; null for none.
 */

declare const brand: unique symbol
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name }

/** The name of a resource: 1 to 255 characters (code points) of well-formed Unicode in NFC, no control characters. */
export type ResourceName = Branded<string, 'ResourceName'>

/** The name of a holder; the same rules as for a {@link ResourceName}. */
export type ProcessId = Branded<string, 'ProcessId'>

/** Milliseconds since 1970-01-01T00:00:00Z by the database's clock. */
export type EpochMs = number

/** A lease in whole milliseconds, at least 1; null never expires. */
export type TtlMs = number | null

/** Data of the caller, stored with its lock and never interpreted. */
export type Metadata = Readonly<Record<string, unknown>>

/** What a request for a share asks for. An exclusive one has none. */
export interface Sharing {
  /** So many permits at most may be held at the same time; null allows any number. */
  readonly limit: number | null
  /** How many of them it takes: 1 to the limit, 1 without a limit. */
  readonly permits: number
}

/** What a share has. */
export interface Share extends Sharing {
  /** The numbers of its permits, ascending, each from 1 to the limit and held by nobody else; none without a limit. */
  readonly slots: readonly number[]
}

/** What a request says about the end of its grants. */
export interface Terms {
  /** A release keeps the resource until that long after it was granted, in milliseconds; 0 does not. */
  readonly holdAtLeastMs: number
  /** For that long nobody is granted the resource after the lease has ended by itself or was taken away. */
  readonly lockDelayMs: number
}

/** What a holder is told of a revocation. */
export interface Revocation {
  /** The lease ends then at the latest, whatever is renewed. */
  readonly at: EpochMs
  readonly reason: string
}

export interface Grant {
  readonly lockId: number
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockedAt: EpochMs
  /** The first instant at which the grant is no longer valid; null never comes. */
  readonly expiresAt: EpochMs | null
  readonly metadata: Metadata | null
  /** Undefined for an exclusive grant. */
  readonly share?: Share | undefined
}

export const MAX_NAME_CHARACTERS = 255
export const MAX_METADATA_BYTES = 4096

/** Most resources that one request may take or release together. */
export const MAX_NAMES = 100

/** The largest limit of a share. */
export const MAX_PERMITS = 100_000

/** The longest lease that still ends inside what a JavaScript date can say: a hundred years. */
export const LONGEST_TTL_SECONDS = 3_155_760_000

/** C0, DEL and C1; a line break in a name could forge a log line or a header. */
const CONTROL_CHARACTER = /\p{Cc}/u
const PLAIN_ASCII = /^[\x20-\x7e]*$/

/**
 * Says what is wrong with a name of a resource or a process, as the end of a sentence, or undefined when it is good.
 * Nothing is normalised silently: two names that look alike must not become one, nor one name two.
 */
export function faultOfName(text: string): string | undefined {
  if (text.length === 0) return 'should have at least 1 character'
  if (text.length > 2 * MAX_NAME_CHARACTERS || Array.from(text).length > MAX_NAME_CHARACTERS) {
    return `should have at most ${MAX_NAME_CHARACTERS} characters`
  }
  return faultOfCharacters(text)
}

/** The part of {@link faultOfName} that is not about the length. */
export function faultOfCharacters(text: string): string | undefined {
  if (PLAIN_ASCII.test(text)) return undefined
  if (!text.isWellFormed()) return 'should be well-formed Unicode, encoded in UTF-8'
  if (CONTROL_CHARACTER.test(text)) return 'should have no control characters'
  if (text.normalize('NFC') !== text) return 'should be in Unicode normalisation form C (NFC)'
  return undefined
}

/** @throws RangeError when the text breaks the rules of {@link ResourceName}. */
export function resourceName(text: string): ResourceName {
  const fault = faultOfName(text)
  if (fault !== undefined) throw new RangeError(`A resource name ${fault}.`)
  return text as ResourceName
}

/** @throws RangeError when the text breaks the rules of {@link ProcessId}. */
export function processId(text: string): ProcessId {
  const fault = faultOfName(text)
  if (fault !== undefined) throw new RangeError(`A process id ${fault}.`)
  return text as ProcessId
}

/** A lease of that many seconds (greater than 0), to the nearest millisecond and never less than one. */
export function ttlFromSeconds(seconds: number): number {
  return Math.max(1, Math.round(seconds * 1000))
}

/**
 * Why a process does not hold what it named. `expired` and `released` speak of the latest grant of the resource,
 * as long as it was that process's and is still remembered; `held_by_other` says that some other grant is valid now.
 */
export type NotHeldReason = 'not_locked' | 'held_by_other' | 'expired' | 'released'

export type EndReason = 'released' | 'expired' | 'forced'

/** The latest grant of a resource as a store remembers it, valid or not. */
export interface LatestGrant extends Grant {
  /** How it ended; null while it is valid, and after it expired until the sweeper sees it. */
  readonly ended: EndReason | null
  /** The name of the key that it belongs to; null for none. */
  readonly key: string | null
}

/** A grant is valid from being granted until `clock >= expiresAt` or until it was ended. */
export function isValid(latest: LatestGrant | undefined, at: EpochMs): latest is LatestGrant {
  return latest !== undefined && latest.ended === null && (latest.expiresAt === null || latest.expiresAt > at)
}

/** Who claims to hold a resource: a process, with the name of its key. Null stands for any. */
export interface Claim {
  readonly processId: ProcessId | null
  readonly key: string | null
}

/** A claim to one grant. */
export type GrantClaim = Claim & { readonly lockId: number | null }

/** Whether the grant that a release or a renewal means is valid at that instant. */
export function isMeant(latest: LatestGrant | undefined, claim: GrantClaim, at: EpochMs): latest is LatestGrant {
  return isValid(latest, at) && fitsClaim(latest, claim)
}

/** Whether the claim is to that grant, valid or not. */
export function fitsClaim(grant: Pick<LatestGrant, 'processId' | 'lockId' | 'key'>, { processId, key, lockId }: GrantClaim): boolean {
  return (processId ?? grant.processId) === grant.processId && (lockId ?? grant.lockId) === grant.lockId && (key ?? grant.key) === (grant.key ?? key)
}

/**
 * Why that process does not hold that resource at that instant; the same whether or not the sweeper has seen the expiry.
 * A grant that was taken away counts as released. Without a process: why nobody does. How the grant of another key ended is
 * not disclosed.
 */
export function whyNotHeld(latest: LatestGrant | undefined, { processId, key }: Claim, at: EpochMs): NotHeldReason {
  if (latest === undefined) return 'not_locked'
  const valid: boolean = isValid(latest, at)
  if (valid) return 'held_by_other'
  if (processId !== null && latest.processId !== processId) return 'not_locked'
  if (key !== null && latest.key !== null && latest.key !== key) return 'not_locked'
  return (latest.ended ?? 'expired') === 'expired' ? 'expired' : 'released'
}

/** Identifies a request, so that its repetition is answered with the same grants: the caller's id and a digest of the content. */
export interface IdempotencyKey {
  readonly id: string
  readonly fingerprint: string
}

/** One resource at one instant of the database's clock. */
export interface LockSnapshot {
  readonly at: EpochMs
  readonly latest: LatestGrant | undefined
}
