import { readdirSync } from 'node:fs'

/**
 * Runs the tests of a folder in one process, one file after another: modules are loaded and compiled once, which is half of what they
 * cost. Tap leaves the files themselves out (`exclude` in package.json); `npm test -- dist/test/http/keys.test.js` still runs one alone.
 */
export async function importTests(folder: string): Promise<void> {
  const place = new URL(`../${folder}/`, import.meta.url)
  for (const file of readdirSync(place).filter((name) => name.endsWith('.test.js')).toSorted()) await import(new URL(file, place).href)
}
