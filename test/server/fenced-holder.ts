import Database from 'better-sqlite3'
import pg from 'pg'

/*
 * A process that takes a lock, reads a number from a store, and writes the next one: a program of its own, so that it can be
 * stopped in the middle like one whose machine was suspended. It says `read`, then `written` or `refused`.
 */

type Parameters = Readonly<Record<string, string | number>>

interface Store {
  /** Resolves to how many rows were changed. */
  readonly change: (statement: string, parameters: Parameters) => Promise<number>
  readonly read: (id: string) => Promise<number>
  readonly close: () => Promise<void>
}

function sqliteStore(file: string): Store {
  const database = new Database(file, { timeout: 5000 })
  return {
    change: (statement, parameters) => Promise.resolve(database.prepare(statement).run(parameters).changes),
    read: (id) => Promise.resolve(Number(database.prepare('select body from documents where id = ?').pluck().get(id))),
    close: () => Promise.resolve(void database.close())
  }
}

async function postgresStore(url: string): Promise<Store> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return {
    async change(statement, parameters) {
      const values: unknown[] = []
      const text = statement.replaceAll(/:(\w+)/g, (_whole, name: string) => `$${values.push(parameters[name])}`)
      return (await client.query(text, values)).rowCount ?? 0
    },
    read: async (id) => Number((await client.query<{ body: string }>('select body from documents where id = $1', [id])).rows[0]?.body),
    close: () => client.end()
  }
}

async function main({ SERVICE = '', STORE = '', PROCESS = '', STOPS, CLAIM, WRITE = '' }: NodeJS.ProcessEnv): Promise<void> {
  const store = STORE.startsWith('postgres') ? await postgresStore(STORE) : sqliteStore(STORE)
  const id = 'ledger'
  const response = await fetch(`${SERVICE}/locks/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resource_name: id, process_id: PROCESS, ttl_seconds: 0.5, wait_seconds: 30 })
  })
  const { data } = (await response.json()) as { data: { fencing_token: number } }
  const token = data.fencing_token
  const claimed = CLAIM === undefined || (await store.change(CLAIM, { token, id })) === 1
  const body = (await store.read(id)) + 1
  process.stdout.write('read\n')
  if (STOPS !== undefined) process.kill(process.pid, 'SIGSTOP')
  const written = claimed && (await store.change(WRITE, { ...(CLAIM === undefined ? {} : { token }), id, body: String(body) })) === 1
  process.stdout.write(written ? 'written\n' : 'refused\n')
  await store.close()
}

await main(process.env)
