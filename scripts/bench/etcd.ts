import { Connection } from './connection.js'

const base64 = (text: string): string => Buffer.from(text).toString('base64')

/**
 * Locks in etcd by its HTTP gateway, under one lease for each connection as its clients have it: by etcd's own lock service
 * (`lock`), or by a key that is put if it is absent and deleted if it is the caller's (`put`).
 */
export class EtcdClient {
  readonly #connection: Connection
  readonly #lease: bigint
  readonly #kind: 'lock' | 'put'

  private constructor(port: number, lease: bigint, kind: 'lock' | 'put') {
    this.#connection = new Connection(port, 'go')
    this.#lease = lease
    this.#kind = kind
  }

  static async open(port: number, ttlSeconds: number, kind: 'lock' | 'put'): Promise<EtcdClient> {
    const response = await fetch(`http://127.0.0.1:${port}/v3/lease/grant`, { method: 'POST', body: JSON.stringify({ TTL: ttlSeconds }) })
    const { ID } = (await response.json()) as { ID: string }
    return new EtcdClient(port, BigInt(ID), kind)
  }

  take(name: string): Promise<string> {
    const key = base64(name)
    if (this.#kind === 'lock') return this.#connection.post('/v3/lock/lock', `{"name":"${key}","lease":"${this.#lease}"}`)
    const put = `{"request_put":{"key":"${key}","value":"${this.#owner}","lease":"${this.#lease}"}}`
    return this.#connection.post('/v3/kv/txn', `{"compare":[{"key":"${key}","target":"CREATE","create_revision":"0"}],"success":[${put}]}`)
  }

  give(name: string): Promise<string> {
    // The lock service names its key by the lock and the lease.
    if (this.#kind === 'lock') return this.#connection.post('/v3/lock/unlock', `{"key":"${base64(`${name}/${this.#lease.toString(16)}`)}"}`)
    const key = base64(name)
    const remove = `{"request_delete_range":{"key":"${key}"}}`
    return this.#connection.post('/v3/kv/txn', `{"compare":[{"key":"${key}","target":"VALUE","value":"${this.#owner}"}],"success":[${remove}]}`)
  }

  get #owner(): string {
    return base64(String(this.#lease))
  }
}
