import module from 'node:module'

/*
 * Tap gives each test file, and each program that a test starts, loaders: for coverage, which is not asked for, and for mocks,
 * which there are none of. Every module then takes a way through other threads, `rlm` takes three times as long to start, and
 * what is tested does not run as it does elsewhere. Imported before them (by `test-env` in package.json, which also tells Tap
 * that there is no TypeScript to compile), this leaves them nothing to take hold of. Where Tap goes about it otherwise, they
 * are there again and nothing breaks.
 */
module.register = () => undefined
module.syncBuiltinESMExports()
const wrapsSpawn = Symbol.for('process-on-spawn@*:singletonId')
Object.defineProperty(globalThis, wrapsSpawn, { value: { version: 1, listeners: [], unwrap: () => undefined }, writable: true })

// It is for this process alone.
delete process.env['NODE_OPTIONS']
