import { statement } from '../statement.js'
import type { SqliteContext } from './context.js'
import { prepare } from './prepared.js'

/**
 * The largest number that was ever granted. SQLite has one writer, and this process is the only one (see owner.ts), so that
 * it is kept in memory and written down once per batch.
 */
export class NumberSource {
  last: number
  readonly #read: () => number
  readonly #write: (number: number) => void
  #written: number

  constructor({ database, db }: SqliteContext) {
    const read = prepare<object, { last_value: number }>(database, statement(() => db.selectFrom('lock_numbers').select('last_value')))
    const write = prepare<{ number: number }>(database, statement((arg) => db.updateTable('lock_numbers').set({ last_value: arg('number') })))
    this.#read = () => read.get({})?.last_value ?? 0
    this.#write = (number) => void write.run({ number })
    this.last = this.#written = this.#read()
  }

  /** To be called inside the transaction that granted. */
  save(): void {
    if (this.last === this.#written) return
    this.#write(this.last)
    this.#written = this.last
  }

  /** To be called after a transaction that was rolled back: what it wrote down is gone. A number that it drew may stay unused. */
  forgetWritten(): void {
    this.#written = -1
  }
}
