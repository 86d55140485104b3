import { loadEnvFile, readConfig } from './config.js'
import { keysCommand } from './keys/command.js'
import { fail } from './log.js'
import { openKeys } from './storage/open-store.js'

/** `npm run keys -- create|list|revoke`: the API keys of the database that the settings name. */
async function main(): Promise<void> {
  loadEnvFile()
  await keysCommand(process.argv.slice(2), {
    open: () => openKeys(readConfig(process.env).DATABASE_URL),
    print: (text) => void process.stdout.write(text),
    note: (text) => void process.stderr.write(text)
  })
}

main().catch(fail)
