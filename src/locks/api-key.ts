import { createHash, randomBytes } from 'node:crypto'
import type { EpochMs } from './lock.js'

/** What a key allows: to look, to take and let go of locks, to take them from others. `admin` includes the other two. */
export type Scope = 'read' | 'write' | 'admin'

export const SCOPES: readonly Scope[] = ['read', 'write', 'admin']

/** What a key is, without what is secret of it. */
export interface ApiKey {
  readonly id: number
  /** Keys of one name follow each other: what was taken with one belongs to all of them. See {@link faultOfKeyName}. */
  readonly name: string
  /** At least one, in the order of {@link SCOPES}. */
  readonly scopes: readonly Scope[]
  /** Only resources whose names begin with this text; empty for all. */
  readonly prefix: string
}

/** What everybody may see of a key, now and later. */
export interface KeyEntry extends ApiKey {
  readonly createdAt: EpochMs
  /** The first instant at which it is no longer valid; null never comes. */
  readonly expiresAt: EpochMs | null
  readonly revokedAt: EpochMs | null
  /** At the database's clock, just now. */
  readonly state: 'live' | 'expired' | 'revoked'
}

/** Makes a key easy to tell from other secrets, for people and for programs that look for leaked ones. */
const BEGINNING = 'rlm_'

/** 256 bits that nobody can guess, in a form that needs no quoting. */
export function newSecret(): string {
  return BEGINNING + randomBytes(32).toString('base64url')
}

/**
 * What is kept of a key: SHA-256, in hexadecimal digits. No salt and no slow hash, since nobody can try 2^256 keys; so it can
 * be looked up by its digest.
 */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/

/** Says what is wrong with the name of a key, as the end of a sentence, or undefined when it is good. It is never a number, which an id is. */
export function faultOfKeyName(name: string): string | undefined {
  return NAME.test(name) ? undefined : 'should begin with a letter and have at most 64 letters, digits, dots, dashes and underscores'
}

/** Whether a key with those scopes may do what takes this one. */
export function allows({ scopes }: Pick<ApiKey, 'scopes'>, scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin')
}
