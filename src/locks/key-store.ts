import type { ApiKey, KeyEntry } from './api-key.js'

export interface NewKey extends Omit<ApiKey, 'id'> {
  /** See {@link digestOf}. */
  readonly digest: string
  /** How long it is valid, in milliseconds, at least 1; null has no end. */
  readonly validForMs: number | null
}

export interface LiveKey extends ApiKey {
  readonly digest: string
}

export interface KeysInUse {
  /** Whether any key was ever made, be it revoked or expired: from then on callers need one. */
  readonly any: boolean
  /** Those that are neither revoked nor expired, by the database's clock. */
  readonly live: readonly LiveKey[]
}

/** The port to the keys in the database, which all instances on it share. Every rejection is a LockError, unless it is a bug. */
export interface KeyStore {
  /** Resolves once the key is durable. */
  create(key: NewKey): Promise<KeyEntry>

  /** All keys that were ever made, oldest first. */
  list(): Promise<readonly KeyEntry[]>

  /** Ends a key for ever; false where there is no such key or it was revoked before. */
  revoke(id: number): Promise<boolean>

  inUse(): Promise<KeysInUse>
}
