import type { EpochMs } from '../locks/lock.js'

/** `2024-01-15T10:30:00.123+00:00`: an explicit offset, since Python before 3.11 cannot read a `Z`. */
export function isoTime(at: EpochMs): string {
  return `${new Date(at).toISOString().slice(0, -1)}+00:00`
}

export function isoTimeOrNull(at: EpochMs | null): string | null {
  return at === null ? null : isoTime(at)
}

/** Seconds from one instant to a later one, with milliseconds, never below 0; null when the later one never comes. */
export function secondsUntil(later: EpochMs | null, from: EpochMs): number | null {
  return later === null ? null : Math.max(0, later - from) / 1000
}
