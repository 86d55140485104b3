import { sql, type Compilable, type CompiledQuery, type RawBuilder, type SqlBool } from 'kysely'

/** A query that Kysely compiled once; only its arguments change from run to run. */
export interface Statement<Args> {
  readonly sql: string
  /** The arguments in the order in which the SQL text wants them. */
  readonly bind: (args: Args) => unknown[]
}

class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/**
 * Compiles a query whose arguments are named and come later.
 *
 * ```ts
 * const byName = statement<{ name: string }>((arg) =>
 *   db.selectFrom('resource_locks').selectAll().where('resource_name', '=', arg('name')))
 * database.prepare(byName.sql).get(byName.bind({ name: 'invoices' }))
 * ```
 */
export function statement<Args extends object>(
  build: (arg: <Name extends keyof Args & string>(name: Name) => RawBuilder<Args[Name]>) => Compilable | CompiledQuery
): Statement<Args> {
  const built = build((name) => sql`${new Slot(name)}`)
  const { sql: text, parameters } = 'compile' in built ? built.compile() : built
  return {
    sql: text,
    bind: (args) => parameters.map((value) => (value instanceof Slot ? args[value.name as keyof Args] : value))
  }
}

/** A row as an object, from its values in the order of the columns. */
export function toRow(columns: readonly string[], values: readonly unknown[]): Record<string, unknown> {
  const row: Record<string, unknown> = {}
  columns.forEach((column, index) => {
    row[column] = values[index]
  })
  return row
}

/** The name begins with that prefix, as a range that an index can be searched for. */
export function beginsWith(name: string, prefix: string): RawBuilder<SqlBool> {
  const end = endOfPrefix(prefix)
  const after = sql<SqlBool>`${sql.ref(name)} >= ${prefix}`
  return end === undefined ? after : sql<SqlBool>`(${after} and ${sql.ref(name)} < ${end})`
}

/** The smallest text that sorts after every text with that prefix, bytewise in UTF-8; undefined when there is none. */
function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.at(-1) === 0x10ffff) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  // Surrogates are not characters.
  const next = last + 1 === 0xd800 ? 0xe000 : last + 1
  return String.fromCodePoint(...points, next)
}
