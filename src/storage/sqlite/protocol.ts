import type { AcquireCommand, Command, OutcomeOf } from '../../locks/commands.js'
import { LockError, StartupError, type LockErrorCode } from '../../locks/errors.js'
import type { KeyStore } from '../../locks/api-keys.js'
import type { EpochMs, Metadata, ProcessId, ResourceName, Share, Sharing, TtlMs } from '../../locks/lock.js'
import type { StoreReads } from '../../locks/store.js'
import { RETRY, type CommandResult } from '../batcher.js'

/*
 * The messages between the service and the worker thread that has the SQLite file. They are JSON text, which costs a third
 * of copying the objects. The service sends one request in a message; the worker sends a list of responses. In both
 * directions `kind`, or the first element of a list, says what follows.
 */

export interface WorkerOptions {
  readonly file: string
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
}

/** For the thread that moves the log of a file into the database, see `Checkpointer`. */
export interface CheckpointOptions {
  readonly checkpoints: string
  readonly handle: number
  /** Holds one `CheckpointState`. */
  readonly state: Int32Array
}

export const CheckpointState = { idle: 0, moving: 1, moved: 2 } as const

export type WorkerCall =
  /** Before all others, and after a `close`: resolves to what an operator should know about the files. */
  | ({ readonly kind: 'open' } & WorkerOptions)
  | { readonly kind: 'execute'; readonly commands: readonly EncodedCommand[] }
  | { readonly kind: 'read'; readonly method: keyof StoreReads; readonly args: readonly unknown[] }
  | { readonly kind: 'keys'; readonly method: keyof KeyStore; readonly args: readonly unknown[] }
  | { readonly kind: 'ping' }
  | { readonly kind: 'close' }

/** `now` is the service's clock at the call; calls arrive in the order of their clock. */
export type WorkerRequest = WorkerCall & { readonly id: number; readonly now: EpochMs }

export type WorkerResponse =
  | { readonly kind: 'value'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: CommandError }
  /** The result of each command, and the tickets of waiters to wake. */
  | { readonly kind: 'results'; readonly id: number; readonly results: readonly EncodedResult[]; readonly wakeups: readonly number[] }

/*
 * Compact encoding of the common commands and results; full objects cost more to serialise than to execute. The tag says
 * which element stands where. A result leaves out what its command says, and its times are relative to the clock of the
 * request. Nulls at the end are left out.
 */

export type EncodedCommand =
  /** A request for one resource, without idempotency key and ticket. */
  | readonly [tag: 'A', name: ResourceName, process: ProcessId, ttl: TtlMs, metadata?: Metadata | null, key?: string | null, sharing?: Sharing]
  /** A release by the holder. */
  | readonly [tag: 'R', name: ResourceName, process: ProcessId, lockId: number | null, key?: string]
  /** Any command, in full. */
  | readonly [tag: 'C', command: Command]

export type EncodedResult =
  /** A new grant of one resource. */
  | readonly [tag: 'G', lockId: number, slots?: readonly number[]]
  /** The one resource is held, or kept for a waiter. */
  | readonly [tag: 'H', holder: ProcessId, lockId: number, locked: number | null, expires: number | null, waiters: number]
  /** Released by the holder. */
  | readonly [tag: 'R', lockId: number, locked: number, expires: number | null, metadata?: Metadata | null, share?: Share]
  /** Any outcome, in full. */
  | readonly [tag: 'O', outcome: OutcomeOf<Command>]
  /** Failed. */
  | readonly [tag: 'F', error: CommandError]
  /** Nothing was changed, and the command goes into the next batch. */
  | readonly [tag: 'T']

export function encodeCommand(command: Command): EncodedCommand {
  if (command.kind === 'acquire') {
    const { resourceNames, processId, ttlMs, metadata, idempotencyKey, ticket, key, terms, steal } = command
    const name = resourceNames.length === 1 ? resourceNames[0] : undefined
    if (name !== undefined && idempotencyKey === null && ticket === null && terms === undefined && steal === undefined) {
      const sharing = command.sharing?.[0] ?? null
      if (sharing !== null) return ['A', name, processId, ttlMs, metadata, key, sharing]
      return metadata === null && key === null ? ['A', name, processId, ttlMs] : ['A', name, processId, ttlMs, metadata, key]
    }
  } else if (command.kind === 'release') {
    const { resourceName, processId, lockId, reason, unlessClaimed, key, keepMs, freesAtOnce } = command
    if (processId !== null && reason === null && unlessClaimed === undefined && keepMs === undefined && freesAtOnce === undefined) {
      return key === null ? ['R', resourceName, processId, lockId] : ['R', resourceName, processId, lockId, key]
    }
  }
  return ['C', command]
}

export function decodeCommand(encoded: EncodedCommand): Command {
  switch (encoded[0]) {
    case 'A': {
      const { 1: name, 2: processId, 3: ttlMs, 4: metadata = null, 5: key = null, 6: sharing } = encoded
      return { kind: 'acquire', resourceNames: [name], processId, ttlMs, metadata, idempotencyKey: null, ticket: null, key, ...(sharing === undefined ? {} : { sharing: [sharing] }) }
    }
    case 'R': {
      const { 1: resourceName, 2: processId, 3: lockId, 4: key = null } = encoded
      return { kind: 'release', resourceName, processId, lockId, reason: null, key }
    }
    case 'C':
      return encoded[1]
  }
}

export function encodeResult(command: Command, result: CommandResult, now: EpochMs): EncodedResult {
  if (result.kind === 'failed') return ['F', encodeError(result.error)]
  if (result.kind === 'retry') return ['T']
  const { outcome } = result
  if (command.kind === 'release' && command.processId !== null && outcome.kind === 'released' && outcome.freeAt === undefined) {
    const { lockId, lockedAt, expiresAt, metadata, share } = outcome.grant
    const expires = toRelative(expiresAt, now)
    if (share !== undefined) return ['R', lockId, lockedAt - now, expires, metadata, share]
    return metadata === null ? ['R', lockId, lockedAt - now, expires] : ['R', lockId, lockedAt - now, expires, metadata]
  }
  if (isSingleAcquire(command)) {
    const grant = outcome.kind === 'granted' && !outcome.replayed ? outcome.grants[0] : undefined
    if (grant !== undefined) return grant.share === undefined ? ['G', grant.lockId] : ['G', grant.lockId, grant.share.slots]
    const conflict = outcome.kind === 'held' && outcome.at === now ? outcome.conflicts[0] : undefined
    if (outcome.kind === 'held' && conflict !== undefined && conflict.usage === undefined && conflict.kept === undefined) {
      const { processId, lockId, lockedAt, expiresAt } = conflict
      return ['H', processId, lockId, toRelative(lockedAt, now), toRelative(expiresAt, now), outcome.waiters]
    }
  }
  return ['O', outcome]
}

/** @throws Error when the result is not of that command. */
export function decodeResult(command: Command, encoded: EncodedResult, now: EpochMs): CommandResult {
  switch (encoded[0]) {
    case 'G': {
      if (!isSingleAcquire(command)) throw mismatch(command, encoded)
      const { resourceNames, processId, ttlMs, metadata } = command
      const { 1: lockId, 2: slots = [] } = encoded
      const sharing = command.sharing?.[0] ?? null
      const share = sharing === null ? {} : { share: { ...sharing, slots } }
      const grant = { lockId, resourceName: resourceNames[0], processId, lockedAt: now, expiresAt: toAbsolute(ttlMs, now), metadata, ...share }
      return { kind: 'done', outcome: { kind: 'granted', grants: [grant], replayed: false } }
    }
    case 'H': {
      if (!isSingleAcquire(command)) throw mismatch(command, encoded)
      const { 1: processId, 2: lockId, 3: locked, 4: expires, 5: waiters } = encoded
      const conflict = { resourceName: command.resourceNames[0], processId, lockId, lockedAt: toAbsolute(locked, now), expiresAt: toAbsolute(expires, now) }
      return { kind: 'done', outcome: { kind: 'held', conflicts: [conflict], at: now, waiters } }
    }
    case 'R': {
      if (command.kind !== 'release' || command.processId === null) throw mismatch(command, encoded)
      const { resourceName, processId } = command
      const { 1: lockId, 2: locked, 3: expires, 4: metadata = null, 5: share } = encoded
      const grant = { lockId, resourceName, processId, lockedAt: now + locked, expiresAt: toAbsolute(expires, now), metadata, ...(share === undefined ? {} : { share }) }
      return { kind: 'done', outcome: { kind: 'released', grant, releasedAt: now } }
    }
    case 'O':
      return { kind: 'done', outcome: encoded[1] }
    case 'F':
      return { kind: 'failed', error: decodeError(encoded[1]) }
    case 'T':
      return RETRY
  }
}

type SingleAcquire = AcquireCommand & { readonly resourceNames: readonly [ResourceName] }

function isSingleAcquire(command: Command): command is SingleAcquire {
  return command.kind === 'acquire' && command.resourceNames.length === 1 && command.terms === undefined && command.steal === undefined
}

function mismatch({ kind }: Command, [tag]: EncodedResult): Error {
  return new Error(`the result of a ${kind} command is encoded as '${tag}'`)
}

function toRelative(at: EpochMs | null, now: EpochMs): number | null {
  return at === null ? null : at - now
}

function toAbsolute(ms: number | null, now: EpochMs): EpochMs | null {
  return ms === null ? null : now + ms
}

export type CommandError =
  /** The stack is that of the cause. */
  | { readonly kind: 'lock'; readonly code: LockErrorCode; readonly stack: string }
  | { readonly kind: 'startup'; readonly message: string }
  | { readonly kind: 'bug'; readonly message: string; readonly stack: string }

export function encodeError(error: unknown): CommandError {
  if (error instanceof LockError) return { kind: 'lock', code: error.code, stack: stackOf(error.cause) }
  if (error instanceof StartupError) return { kind: 'startup', message: error.message }
  return { kind: 'bug', message: error instanceof Error ? error.message : String(error), stack: stackOf(error) }
}

export function decodeError(error: CommandError): Error {
  switch (error.kind) {
    case 'lock': {
      const { code, stack } = error
      return new LockError(code, { cause: Object.assign(new Error(stack.split('\n', 1)[0]), { stack }) })
    }
    case 'startup':
      return new StartupError(error.message)
    case 'bug':
      return Object.assign(new Error(error.message), { stack: error.stack })
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? String(error)) : String(error)
}
