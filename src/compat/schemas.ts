import { Type, type TObject, type TProperties } from '@sinclair/typebox'

/** One body, with what it is for and an example; with a title it is a schema of that name in the document, wherever it occurs. */
export function body<Fields extends TProperties>(description: string, fields: Fields, example: Readonly<Record<string, unknown>>, title?: string): TObject<Fields> {
  return Type.Object(fields, { ...(title === undefined ? { description } : { title, 'x-response-description': description }), examples: [example] })
}

/** An id, which may come as a number as well. */
export const IdSchema = (description: string, example: string) =>
  Type.Unsafe<string | number>({ type: ['string', 'number'], description, examples: [example] })

export const ttlSchema = (fallback: number, maximum: number) =>
  Type.Unsafe<number | string>({
    type: ['number', 'string'],
    exclusiveMinimum: 0,
    maximum,
    description: `How long the lock lasts, in seconds; ${fallback} if left out. A text of digits will do.`,
    examples: [fallback]
  })

/** How an API reports what it could not do; `success` is there where the API says so. */
export type FaultFields = { readonly error: string } | { readonly success: false; readonly error: string }

type Fault = readonly [status: number, description: string, error: string]

const KEYS: readonly Fault[] = [
  [401, 'There are keys, and none was sent that is valid; with `WWW-Authenticate: Bearer`.', 'This call needs an API key, sent as Authorization: Bearer KEY'],
  [403, 'The scopes or the prefix of the key do not allow it.', "The API key does not have the scope 'write'"]
]
const STORAGE: readonly Fault[] = [
  ...KEYS,
  [500, 'A bug of the service; it was logged.', 'Internal server error'],
  [503, 'The database is away, its confirmation was lost, or too much is waiting.', 'The database is not available; nothing was changed'],
  [507, 'The disk is full; releasing still works.', 'The disk of the database is full; nothing was changed']
]
const BODY: readonly Fault[] = [
  [413, 'The body is larger than 64 KiB.', 'The body is larger than 64 KiB'],
  [415, 'The body is not sent as JSON.', 'The body must be sent as application/json']
]

/**
 * What the calls of an API can answer beside their own words.
 *
 * @param title the name of their refusals in the document.
 * @param frame what stands in a refusal beside `error`.
 */
export function faultsOf(title: string, frame: TProperties, framed: Readonly<Record<string, unknown>>) {
  const schemas = (faults: readonly Fault[]) =>
    Object.fromEntries(
      faults.map(([status, description, error]) => [status, body(description, { ...frame, error: Type.String() }, { ...framed, error }, title)])
    )
  return {
    /** For calls that neither have a body nor name anything. */
    always: schemas(STORAGE),
    /** For calls that name something in their path. */
    withId: (error: string) => schemas([[400, 'A fault of form; nothing was changed.', error], ...STORAGE]),
    withBody: (error: string) => schemas([[400, 'A fault of form; nothing was changed.', error], ...BODY, ...STORAGE]),
    /** For calls that may have a body, which says nothing. */
    withEmptyBody: schemas([[400, 'The body is not valid JSON.', 'The body is not valid JSON'], ...BODY, ...STORAGE])
  }
}
