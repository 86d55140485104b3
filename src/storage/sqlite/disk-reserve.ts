import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { PRIVATE_MODE } from './files.js'

const RESERVE_BYTES = 512 * 1024

/**
 * Space kept back beside the database, so that locks can still be released when the disk is full. It is given up to the
 * first release that finds no other room, and laid again when there is some.
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

  /** Tells that the disk was found full: from now on the reserve must be laid anew before it counts as laid. */
  foundFull(): void {
    this.#full = true
  }

  /** Lays the reserve if it is missing, or was found to be all the room there is; false when the disk has no room for it. */
  allocate(): boolean {
    if (existsSync(this.#file) && !this.#full) return true
    try {
      // Beside the old one: that there is room for both proves that the disk is full no longer.
      const handle = openSync(this.#new, 'w', PRIVATE_MODE)
      try {
        // Not writeSync: that writes what there is room for, and is content.
        writeFileSync(handle, Buffer.alloc(RESERVE_BYTES))
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      renameSync(this.#new, this.#file)
      this.#full = false
      return true
    } catch {
      // Half a reserve would only take up the last of the room.
      rmSync(this.#new, { force: true })
      return false
    }
  }

  /** Frees the space. */
  free(): void {
    rmSync(this.#file, { force: true })
  }
}
