import { readdirSync, readFileSync } from 'node:fs'
import type { LoadResult, LoadSpec } from './messages.js'
import { runLoad, type Server } from './processes.js'

/** `USER_HZ`, which Linux has fixed for what it tells programs. */
const TICKS_PER_SECOND = 100

export interface Timed extends LoadResult {
  /** Processor time of the server and its database for each answer, in microseconds. */
  readonly micros: number
}

/** Runs a load on a server. @param pids of its database. */
export async function runTimed(server: Server, pids: readonly number[], load: LoadSpec): Promise<Timed> {
  const before = processorMicros(pids)
  await server.reset()
  const result = await runLoad(load)
  const { cpuMicros } = await server.usage()
  return { ...result, micros: (cpuMicros + processorMicros(pids) - before) / result.answers }
}

interface Stat {
  readonly parent: number
  /** Its own and that of its children that have ended, in ticks. */
  readonly ticks: number
}

/**
 * The processor time so far of these processes and of all that they started, in microseconds: also of children that have ended,
 * such as PostgreSQL's connections. It counts in steps of 10 ms for each process; NaN where the system is not Linux.
 */
export function processorMicros(roots: readonly number[]): number {
  if (process.platform !== 'linux') return Number.NaN
  if (roots.length === 0) return 0
  const stats = new Map(readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? statOf(Number(name)) : [])))
  const isBelow = (pid: number): boolean => roots.includes(pid) || (pid > 1 && isBelow(stats.get(pid)?.parent ?? 0))
  let ticks = 0
  for (const [pid, stat] of stats) if (isBelow(pid)) ticks += stat.ticks
  return (ticks * 1e6) / TICKS_PER_SECOND
}

function statOf(pid: number): [number, Stat][] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Its name stands in brackets and may have spaces; the parent is the 4th field, the times are the 14th to the 17th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return [[pid, { parent: Number(fields[1]), ticks: [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0) }]]
  } catch {
    // It has just ended.
    return []
  }
}
