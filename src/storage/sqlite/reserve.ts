import { closeSync, existsSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs'

const RESERVE_BYTES = 512 * 1024

/**
 * Space kept back beside the database, so that locks can still be released when the disk is full: the first release that
 * finds no room gives it up. The file is laid again when there is room.
 */
export class Reserve {
  readonly #file: string

  constructor(file: string) {
    this.#file = `${file}-reserve`
    this.lay()
  }

  /** Lays the reserve if it is missing and the disk has room for it; false when it has not. */
  lay(): boolean {
    if (existsSync(this.#file)) return true
    try {
      const handle = openSync(this.#file, 'wx')
      try {
        writeSync(handle, Buffer.alloc(RESERVE_BYTES))
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      return true
    } catch {
      // Half a reserve would only take up the last of the room.
      this.giveUp()
      return false
    }
  }

  /** Frees the space; false when there was none to free. */
  giveUp(): boolean {
    const had = existsSync(this.#file)
    rmSync(this.#file, { force: true })
    return had
  }
}
