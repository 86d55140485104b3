import { groupBy } from './group-by.js'
import type { Recorded } from './recorded.js'

/**
 * A watcher's stream is exactly the history: every event once, in order, however often it was resumed.
 *
 * @param told all that the watcher was told, in that order, by streams that began before the first of those events.
 * @param events the history of some resources; what the watcher was told of others, or later, is left out of account.
 */
export function compareStream(watcher: string, told: readonly Recorded[], events: readonly Recorded[]): string[] {
  const faults: string[] = []
  for (const [index, event] of told.entries()) {
    const before = told[index - 1]
    if (before !== undefined && event.eventId <= before.eventId) faults.push(`${watcher} was told of event ${event.eventId} after ${before.eventId}`)
  }
  const ofWatcher = groupBy(told, ({ resource }) => resource)
  for (const [resource, history] of groupBy(events, ({ resource }) => resource)) {
    const last = Math.max(...history.map(({ eventId }) => eventId))
    const heard = new Map((ofWatcher.get(resource) ?? []).map((event) => [event.eventId, JSON.stringify(event)]))
    for (const event of history) {
      const same = heard.get(event.eventId)
      if (same === undefined) faults.push(`${watcher} was never told of ${JSON.stringify(event)}`)
      else if (same !== JSON.stringify(event)) faults.push(`${watcher} was told ${same}, and the history says ${JSON.stringify(event)}`)
      heard.delete(event.eventId)
    }
    for (const [eventId, event] of heard) if (eventId <= last) faults.push(`${watcher} was told of what is not in the history: ${event}`)
  }
  return faults
}

/** Whether a watcher has been told of everything in the history, or of something later. */
export function hasCaughtUp(told: readonly Recorded[], events: readonly Recorded[]): boolean {
  const last = Math.max(0, ...events.map(({ eventId }) => eventId))
  return told.some(({ eventId }) => eventId >= last)
}
