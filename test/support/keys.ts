import type { InjectOptions } from 'fastify'
import { digestOf, newSecret, type Scope, type NewKey } from '../../src/locks/api-keys.js'
import type { Answer, TestApp } from './app.js'

/** A key as a store wants it, with the text that is shown for it. */
export function newKey(name: string, more: Partial<NewKey> = {}): NewKey & { readonly secret: string } {
  const secret = newSecret()
  return { name, digest: digestOf(secret), scopes: ['read', 'write'], prefix: '', validForMs: null, ...more, secret }
}

/** Makes a key that the service knows from now on, and says its id and its text. */
export async function makeKey(api: TestApp, name: string, scopes: readonly Scope[], more: Partial<NewKey> = {}) {
  const { secret, ...key } = newKey(name, { scopes, ...more })
  const { id } = await api.store.keys.create(key)
  await api.keys.refresh()
  return { id, secret }
}

/** Sends a request with a key; without one where there is none. */
export function sendWith<Body = unknown>(api: TestApp, secret: string | undefined, request: InjectOptions): Promise<Answer<Body>> {
  return api.send({ ...request, headers: { ...request.headers, ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }) } })
}
