import { listenedAt, loadEnvFile } from './config.js'

const WITHIN_MS = 3000

/** What the container's health check runs: ends with 0 when the service of this environment can take work, else with 1. */
async function main(): Promise<void> {
  loadEnvFile()
  const { ok } = await fetch(`${listenedAt(process.env)}/readyz`, { signal: AbortSignal.timeout(WITHIN_MS) })
  if (!ok) process.exitCode = 1
}

main().catch(() => (process.exitCode = 1))
