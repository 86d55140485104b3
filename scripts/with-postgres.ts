import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { databaseTemplates } from './database-templates.js'
import { PostgresServer } from './postgres-server.js'

/**
 * No test crashes the machine, and databases are made several times faster. Whether a service may rely on its server's disk is
 * tested with servers that wait for it. A machine of many processors runs many tests at once.
 */
const SETTINGS = { fsync: 'off', max_wal_size: '256MB', max_connections: '1000' }

/** Tests wait now and then. More files at once compete for caches, and cost more altogether. */
const FILES_PER_PROCESSOR = 2

/**
 * `node dist/scripts/with-postgres.js COMMAND ARGS…` runs a command with TEST_DATABASE_URL set to a PostgreSQL server that
 * lives as long as the command does. Where the variable is set already, that server is used and left alone, but for a
 * database that the tests copy, which is dropped in the end.
 */
async function main([command, ...args]: string[]): Promise<number> {
  if (command === undefined) throw new Error('usage: with-postgres COMMAND ARGS…')
  await using server = process.env['TEST_DATABASE_URL'] === undefined ? await PostgresServer.start({ settings: SETTINGS, inMemory: true }) : null
  const url = server?.url ?? process.env['TEST_DATABASE_URL'] ?? ''
  await using templates = await databaseTemplates(url)
  const env = { TAP_JOBS: String(FILES_PER_PROCESSOR * availableParallelism()), ...process.env, TEST_DATABASE_URL: url, ...templates.env }
  const child = spawn(command, args, { stdio: 'inherit', env })
  // The terminal's Ctrl-C reaches the child by itself; here it must only not cut the clean-up short.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return code ?? (signal === null ? 1 : 130)
}

process.exitCode = await main(process.argv.slice(2))
