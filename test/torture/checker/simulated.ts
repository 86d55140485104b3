import type { Answer, Ask } from './operation.js'

/** A way in which the simulated service is wrong. */
export type Flaw =
  | 'grants over a valid lock'
  | 'draws numbers that do not grow'
  | 'forgets an acknowledged grant'
  | 'forgets an acknowledged release'
  | 'releases for anybody'
  | 'renews after the end'
  | 'grants a repetition once more'
  | 'counts a lease from the call'
  | 'reports an ended lock'
  | 'grants a part'
  | 'serves the last in line first'
  | 'leaves no trace'

export interface Lock {
  readonly process: string
  readonly requestId: string | null
  readonly lockId: number
  readonly lockedAt: number
  readonly ttlMs: number | null
  expiresAt: number | null
  ended: boolean
}

/** A call that was made and not answered yet. */
export interface Pending {
  readonly asks: readonly (readonly [resource: string, ask: Ask])[]
  readonly called: number
  readonly calledAt: number
  readonly ticket: number
  answers: Answer[] | undefined
}

export function waitsFor({ asks }: Pending, resource: string): boolean {
  return asks.some(([name, ask]) => name === resource && ask.kind === 'request' && ask.waits)
}
