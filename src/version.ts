import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** The version of this package. The manifest lies above `src` in the sources and above `dist/src` when compiled. */
export const VERSION = read('../package.json') ?? read('../../package.json') ?? '0.0.0'

function read(path: string): string | undefined {
  try {
    return (require(path) as { version?: string }).version
  } catch {
    return undefined
  }
}
