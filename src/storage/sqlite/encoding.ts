import type { Command, OutcomeOf } from '../../locks/commands.js'
import type { EpochMs, Metadata, ProcessId, ResourceName, TtlMs } from '../../locks/lock.js'

/*
 * The everyday commands and outcomes in few characters: written out as objects, it takes longer to send them from one thread
 * to the other than to carry the commands out. An outcome leaves out what its command says; its times count from when that
 * was handed over.
 */

/** What has no brief form is the command itself. */
export type BriefCommand = BriefAcquire | BriefEnd | Command

type BriefAcquire = readonly ['+', name: ResourceName, process: ProcessId, ttl: TtlMs, metadata: Metadata | null, key: string | null]
type BriefEnd = readonly ['-', name: ResourceName, process: ProcessId, lockId: number | null, key: string | null]

export function commandToBrief(command: Command): BriefCommand {
  if (command.kind === 'acquire') {
    const { resourceNames, processId, ttlMs, metadata, idempotencyKey: mark, ticket, key } = command
    const [name] = resourceNames
    return name === undefined || resourceNames.length > 1 || mark !== null || ticket !== null ? command : ['+', name, processId, ttlMs, metadata, key]
  }
  if (command.kind !== 'release') return command
  const { resourceName, processId, lockId, reason, unlessClaimed, key } = command
  return processId === null || reason !== null || unlessClaimed !== undefined ? command : ['-', resourceName, processId, lockId, key]
}

export function commandFromBrief(brief: BriefCommand): Command {
  if (isCommand(brief)) return brief
  if (brief[0] === '+') {
    const [, name, processId, ttlMs, metadata, key] = brief
    return { kind: 'acquire', resourceNames: [name], processId, ttlMs, metadata, idempotencyKey: null, ticket: null, key }
  }
  const [, resourceName, processId, lockId, key] = brief
  return { kind: 'release', resourceName, processId, lockId, reason: null, key }
}

function isCommand(brief: BriefCommand): brief is Command {
  return !Array.isArray(brief)
}

/** A number is the lock id of a new grant; what has no brief form is the outcome itself. */
export type Brief = number | BriefRelease | BriefRefusal | OutcomeOf<Command>

type BriefRelease = readonly ['released', lockId: number, locked: number, expires: number | null, metadata: Metadata | null]
type BriefRefusal = readonly ['held', holder: ProcessId, lockId: number, locked: number | null, expires: number | null, waiters: number]

export function toBrief(command: Command, outcome: OutcomeOf<Command>, now: EpochMs): Brief {
  if (command.kind === 'release' && outcome.kind === 'released' && command.processId !== null) {
    const { lockId, lockedAt, expiresAt, metadata } = outcome.grant
    return ['released', lockId, lockedAt - now, fromNow(expiresAt, now), metadata]
  }
  if (command.kind !== 'acquire' || command.resourceNames.length > 1) return outcome
  if (outcome.kind === 'granted' && !outcome.replayed) return outcome.grants[0]?.lockId ?? outcome
  const [conflict] = outcome.kind === 'held' && outcome.at === now ? outcome.conflicts : []
  if (outcome.kind !== 'held' || conflict === undefined) return outcome
  return ['held', conflict.processId, conflict.lockId, fromNow(conflict.lockedAt, now), fromNow(conflict.expiresAt, now), outcome.waiters]
}

/** @throws Error when the brief form is not of that command. */
export function fromBrief(command: Command, brief: Brief, now: EpochMs): OutcomeOf<Command> {
  if (isWhole(brief)) return brief
  if (typeof brief === 'object' && brief[0] === 'released' && command.kind === 'release' && command.processId !== null) {
    const [, lockId, locked, expires, metadata] = brief
    const { resourceName, processId } = command
    const grant = { lockId, resourceName, processId, lockedAt: now + locked, expiresAt: after(expires, now), metadata }
    return { kind: 'released', grant, releasedAt: now }
  }
  const [resourceName] = command.kind === 'acquire' ? command.resourceNames : []
  if (command.kind !== 'acquire' || resourceName === undefined) throw new Error(`a ${command.kind} was answered like a request`)
  if (typeof brief === 'number') {
    const { processId, ttlMs, metadata } = command
    return { kind: 'granted', grants: [{ lockId: brief, resourceName, processId, lockedAt: now, expiresAt: after(ttlMs, now), metadata }], replayed: false }
  }
  if (brief[0] !== 'held') throw new Error('a request was answered like a release')
  const [, processId, lockId, locked, expires, waiters] = brief
  return { kind: 'held', conflicts: [{ resourceName, processId, lockId, lockedAt: after(locked, now), expiresAt: after(expires, now) }], at: now, waiters }
}

function isWhole(brief: Brief): brief is OutcomeOf<Command> {
  return typeof brief === 'object' && !Array.isArray(brief)
}

function fromNow(at: EpochMs | null, now: EpochMs): number | null {
  return at === null ? null : at - now
}

function after(ms: number | null, now: EpochMs): EpochMs | null {
  return ms === null ? null : now + ms
}
