/** What the client read, as the HTTP API spells it: snake_case, and times with an explicit offset. */
export function wireJson(value: unknown): string {
  return JSON.stringify(onWire(value))
}

function onWire(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString().replace('Z', '+00:00')
  if (Array.isArray(value)) return value.map(onWire)
  if (typeof value !== 'object' || value === null) return value
  // What a holder put into its metadata is its own.
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [snakeCase(name), name === 'metadata' ? field : onWire(field)]))
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
