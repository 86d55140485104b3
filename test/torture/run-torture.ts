import { readOptions } from './options.js'
import { torture } from './torture.js'

/** How many violations are printed in full. */
const MOST_TOLD = 20

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  const { database, instances, minutes, seed, clients, thinkMs } = options
  say(`${new Date().toISOString()} ${database}, ${instances} instances, ${clients} clients, ${thinkMs} ms of thought, ${minutes} minutes, seed ${seed}`)
  const told = { violations: 0, lost: 0 }
  const figures = await torture(options, {
    onProgress: ({ progress, violations, lost }) => {
      say(progress)
      for (const violation of violations.slice(told.violations, MOST_TOLD)) say(violation)
      for (const operation of lost.slice(told.lost, MOST_TOLD)) say(`lost: ${operation}`)
      Object.assign(told, { violations: violations.length, lost: lost.length })
    }
  })
  say(`\n${figures.report}\n${'seed'.padEnd(48)}${String(seed).padStart(10)}`)
  process.exitCode = figures.clean ? 0 : 1
}

await main()
