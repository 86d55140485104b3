import { statement } from '../statement.js'
import type { SqliteContext } from './context.js'
import { prepare } from './prepared.js'

/**
 * The largest number that was ever granted. SQLite has one writer, and this process is the only one (see owner.ts), so that
 * it is kept in memory and written down once per batch.
 */
export class TokenSource {
  last: number
  readonly #write: (number: number) => void
  #committed: number

  constructor({ database, db }: SqliteContext) {
    const read = prepare<object, { last_value: number }>(database, statement(() => db.selectFrom('lock_numbers').select('last_value')))
    const write = prepare<{ number: number }>(database, statement((arg) => db.updateTable('lock_numbers').set({ last_value: arg('number') })))
    this.#write = (number) => void write.run({ number })
    this.last = this.#committed = read.get({})?.last_value ?? 0
  }

  /** To be called inside the transaction that granted. */
  save(): void {
    if (this.last !== this.#committed) this.#write(this.last)
  }

  /** To be called after its commit. */
  commit(): void {
    this.#committed = this.last
  }

  /** To be called after a transaction that was rolled back: the numbers that it drew were never given. */
  rollBack(): void {
    this.last = this.#committed
  }
}
