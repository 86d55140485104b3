import type Database from 'better-sqlite3'
import { toRow, type Statement } from '../statement.js'

/** A statement that SQLite has parsed once, with its named arguments. */
export interface Prepared<Args, Row> {
  readonly get: (args: Args) => Row | undefined
  readonly all: (args: Args) => Row[]
  /** The number of rows that were changed. */
  readonly run: (args: Args) => number
  /** The id of the row that was inserted. */
  readonly insert: (args: Args) => number
}

/**
 * Rows are fetched as arrays and made objects here: in those that the driver makes every property has to be looked up as in
 * a dictionary.
 */
export function prepare<Args extends object, Row = never>(database: Database.Database, compiled: Statement<Args>): Prepared<Args, Row> {
  const prepared = database.prepare(compiled.sql)
  const columns = prepared.reader ? prepared.raw().columns().map(({ name }) => name) : []
  const rowOf = (values: unknown): Row => toRow(columns, values as readonly unknown[]) as Row
  return {
    get: (args) => {
      const values = prepared.get(...compiled.bind(args))
      return values === undefined ? undefined : rowOf(values)
    },
    all: (args) => prepared.all(...compiled.bind(args)).map(rowOf),
    run: (args) => prepared.run(...compiled.bind(args)).changes,
    insert: (args) => Number(prepared.run(...compiled.bind(args)).lastInsertRowid)
  }
}
