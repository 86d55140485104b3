import { loadEnvFile, readConfig } from './config.js'
import { fail } from './log.js'
import { migrateDatabase } from './storage/open-store.js'

/** `npm run migrate`: brings the database to the newest version without starting the service. */
async function main(): Promise<void> {
  loadEnvFile()
  const names = await migrateDatabase(readConfig(process.env).DATABASE_URL)
  process.stdout.write(names.length === 0 ? 'The database is up to date.\n' : names.map((name) => `Applied ${name}.\n`).join(''))
}

main().catch(fail)
