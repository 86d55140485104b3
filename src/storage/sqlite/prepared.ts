import type Database from 'better-sqlite3'
import type { Statement } from '../statement.js'

/** A statement that SQLite has parsed once, with its named arguments. */
export interface Prepared<Args, Row> {
  readonly get: (args: Args) => Row | undefined
  readonly all: (args: Args) => Row[]
  readonly run: (args: Args) => number
}

export function prepare<Args extends object, Row = never>(database: Database.Database, compiled: Statement<Args>): Prepared<Args, Row> {
  const prepared = database.prepare(compiled.sql)
  return {
    get: (args) => prepared.get(...compiled.bind(args)) as Row | undefined,
    all: (args) => prepared.all(...compiled.bind(args)) as Row[],
    /** The number of rows that were changed. */
    run: (args) => prepared.run(...compiled.bind(args)).changes
  }
}
