import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** Only the service's own user: other users must not read the names of locks and holders, nor the digests of keys. */
export const PRIVATE_MODE = 0o600

const RESERVE_BYTES = 512 * 1024

/**
 * Space that is reserved beside the database, so that locks can still be released when the disk is full. The first release
 * that finds no other space frees it; it is allocated again when the disk has space.
 */
export class DiskReserve {
  readonly #file: string
  readonly #new: string
  #full = false

  constructor(file: string) {
    this.#file = `${file}-reserve`
    this.#new = `${file}-reserve-new`
    rmSync(this.#new, { force: true })
    this.allocate()
  }

  /** The disk was found full: the reserve must be allocated again before it counts. */
  foundFull(): void {
    this.#full = true
  }

  /** Allocates the reserve if it is missing or the disk was found full; false when the disk has no space for it. */
  allocate(): boolean {
    if (existsSync(this.#file) && !this.#full) return true
    try {
      // Beside the old one: space for both proves that the disk is no longer full.
      const handle = openSync(this.#new, 'w', PRIVATE_MODE)
      try {
        // Not writeSync, which writes only what fits and reports no error.
        writeFileSync(handle, Buffer.alloc(RESERVE_BYTES))
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      renameSync(this.#new, this.#file)
      this.#full = false
      return true
    } catch {
      // A partial reserve would only use up the rest of the space.
      rmSync(this.#new, { force: true })
      return false
    }
  }

  /** Frees the space. */
  free(): void {
    rmSync(this.#file, { force: true })
  }
}
