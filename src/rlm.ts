#!/usr/bin/env sh
//usr/bin/env true; while read -r name mask; do [ "$name" = SigIgn: ] && export RLM_IGNORED_SIGNALS="$mask"; done 2>/dev/null </proc/self/status
//usr/bin/env true; exec node "$0" "$@"

// Node makes every signal end the process again that it was told to ignore, as by nohup, before it runs any code. The lines above
// are a shell's, which tells of them, and comments to Node.
import { closeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { main } from './cli/main.js'
import { signalsIn } from './cli/process-group.js'

/** How long what goes on in the background may take once the command is done: a lock is given back. */
const LINGER_MS = 1000

const ignored = signalsIn(process.env['RLM_IGNORED_SIGNALS'])
delete process.env['RLM_IGNORED_SIGNALS']
for (const name of ignored) process.on(name, () => undefined)

const terminals = [0, 1, 2].filter((fd) => isatty(fd))
process.on('exit', () => {
  // Node restores the modes of its terminals at the end, and aborts where one has hung up.
  for (const fd of terminals) if (!isatty(fd)) closeSync(fd)
})

const outcome = await main(process.argv.slice(2), process, ignored)
if (outcome.kind === 'serve') {
  await import('./server.js')
} else {
  process.exitCode = outcome.code
  setTimeout(() => process.exit(outcome.code), LINGER_MS).unref()
}
