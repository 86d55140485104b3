/**
 * Tap gives each process that a test starts, and those that it starts in turn, a loader that notes which files they read. That
 * takes longer than the whole start of `rlm`, and the programs would not run as they do elsewhere. Imported after Tap's own
 * loader, this takes it out again; where Tap keeps it otherwise, nothing happens.
 */
const wrapping: { readonly unwrap?: () => void } | undefined = Reflect.get(globalThis, Symbol.for('process-on-spawn@*:singletonId'))
wrapping?.unwrap?.()
