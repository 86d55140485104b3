import type { AcquireCommand } from '../../locks/commands.js'

/**
 * For each name the request with the smallest ticket; whoever has none comes last, and the earlier before the later. Of those
 * with one id only the first: the others learn from what is remembered of it, or ask again.
 */
export function firstPerResource(commands: readonly AcquireCommand[]): AcquireCommand[] {
  const first = new Map<string, AcquireCommand>()
  for (const command of commands) {
    const other = first.get(nameOf(command))
    if (other === undefined || positionOf(command) < positionOf(other)) first.set(nameOf(command), command)
  }
  const ids = new Set<string>()
  return [...first.values()].filter(({ idempotencyKey: mark }) => mark === null || (!ids.has(mark.id) && ids.add(mark.id)))
}

function positionOf({ ticket }: AcquireCommand): number {
  return ticket ?? Number.POSITIVE_INFINITY
}

export function nameOf({ resourceNames }: AcquireCommand): string {
  return resourceNames[0] ?? ''
}
