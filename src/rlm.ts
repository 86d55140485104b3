#!/usr/bin/env node
import { main } from './cli/main.js'
import type { ProgramName } from './cli/programs.js'

/** How long what goes on in the background may take once the command is done: a lock is given back. */
const LINGER_MS = 1000

/** Each of them runs as soon as it is imported, in this process: it gets the signals, and there is no second process to lose. */
const ENTRIES: Readonly<Record<ProgramName, string>> = { serve: './server.js', migrate: './migrate.js', keys: './keys.js' }

// Whoever reads the output has seen enough: `rlm ls | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

const outcome = await main(process.argv.slice(2), process)
if (outcome.kind === 'program') {
  // A program reads its arguments where it would stand itself.
  process.argv.splice(2, 1)
  await import(ENTRIES[outcome.name])
} else {
  process.exitCode = outcome.code
  setTimeout(() => process.exit(outcome.code), LINGER_MS).unref()
}
