import { parseArgs } from 'node:util'
import { loadEnvFile, readConfig } from './config.js'
import { StartupError } from './locks/errors.js'
import { fail } from './log.js'
import { raiseNumbers } from './storage/open-store.js'

/** `npm run raise-numbers`: to be run once on a database that was restored from a backup, before the service is started on it. */
async function main(): Promise<void> {
  const above = numberIn(process.argv.slice(2))
  loadEnvFile()
  const { from, to } = await raiseNumbers(readConfig(process.env).DATABASE_URL, above)
  process.stdout.write(
    to === from ? `The numbers of the locks go on after ${from} as they are.\n` : `The numbers of the locks go on after ${to}; they were at ${from}.\n`
  )
}

function numberIn(args: string[]): number | undefined {
  const { above } = optionsIn(args)
  if (above === undefined) return undefined
  if (/^[1-9][0-9]{0,15}$/.test(above) && Number.isSafeInteger(Number(above))) return Number(above)
  throw new StartupError(`What follows --above is '${above}'; expected the largest number of a lock that was ever given.`)
}

function optionsIn(args: string[]): { above?: string | undefined } {
  try {
    return parseArgs({ args, options: { above: { type: 'string' } } }).values
  } catch {
    throw new StartupError('Usage: npm run raise-numbers [-- --above NUMBER].')
  }
}

main().catch(fail)
