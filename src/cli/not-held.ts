import type { NotHeldReason } from '../client/index.js'

/** Why a lock could not be released, for people. */
export const NOT_HELD: Readonly<Record<NotHeldReason, string>> = {
  not_locked: 'nobody holds it',
  held_by_other: 'another grant is valid',
  expired: 'its lease ran out',
  released: 'it was released before'
}
