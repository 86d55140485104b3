import { constants } from 'node:os'

/** What the command ends with. Those from 64 to 78 mean what sysexits.h says, the last two what a shell says. */
export const EXIT = {
  ok: 0,
  /** What was asked for is not so: the lock is not held, an examination found a fault. */
  refused: 1,
  usage: 64,
  unreachable: 69,
  internal: 70,
  notAcquired: 75,
  lost: 76,
  unauthorised: 77,
  notExecutable: 126,
  notFound: 127
} as const

/** As a shell counts a process that a signal ended. */
export function exitOfSignal(name: NodeJS.Signals): number {
  return 128 + constants.signals[name]
}
