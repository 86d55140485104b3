import type { Test } from 'tap'
import type { TestApp } from './app.js'
import { documentOf, schemaOf, SchemaChecker } from './openapi.js'

/** One call and its answer: `POST /lock/user/1`, what is sent, the status, the body. */
export type Call = readonly [call: string, payload: string | object | null, status: number, body: object]

/** Makes the calls one after another. Each must be answered exactly so, and as the OpenAPI document says. */
export async function answersTo(t: Test, api: TestApp, calls: readonly Call[]): Promise<void> {
  await using checker = new SchemaChecker()
  const document = await documentOf(api)
  for (const [call, payload, status, body] of calls) {
    const [method, url] = call.split(' ') as ['GET' | 'POST', string]
    const title = `${call} ${JSON.stringify(payload)}`.slice(0, 200)
    const answer = await api.send({
      method,
      url,
      ...(payload === null ? {} : { headers: { 'content-type': 'application/json' }, payload })
    })
    t.equal(answer.status, status, title)
    t.strictSame(answer.body, body, title)
    t.strictSame(await checker.faults(schemaOf(document, method, url, status), answer.body), [], `${title} as documented`)
  }
}

/** What `/locks/all-locked` shows: who holds what. */
export async function allLocked(api: TestApp): Promise<Readonly<Record<string, string>>> {
  const { body } = await api.get<{ data: { locks: { resource_name: string; process_id: string }[] } }>('/locks/all-locked')
  return Object.fromEntries(body.data.locks.map(({ resource_name, process_id }) => [resource_name, process_id]))
}
