import { Type, type Static, type TObject, type TSchema } from '@sinclair/typebox'
import { faultOfCharacters, MAX_NAME_CHARACTERS, type ProcessId, type ResourceName } from '../../locks/lock.js'

/** Checked by the validator through `faultOfCharacters`; what passes it is a name, and its type says so. */
export const NAME_FORMAT = 'lock-name'
export const isNameFormat = (text: string): boolean => faultOfCharacters(text) === undefined

const name = { type: 'string', minLength: 1, maxLength: MAX_NAME_CHARACTERS, format: NAME_FORMAT } as const

export const ResourceNameSchema = Type.Unsafe<ResourceName>({
  ...name,
  description: 'The resource to lock: 1 to 255 characters of Unicode in NFC, no control characters.',
  examples: ['database_backup']
})

export const ProcessIdSchema = Type.Unsafe<ProcessId>({
  ...name,
  description: 'Who holds or wants it: 1 to 255 characters of Unicode in NFC, no control characters.',
  examples: ['process_123']
})

export const LockIdSchema = Type.Integer({
  description: 'The number of a grant. Each grant of a resource has a larger one than every earlier grant of it, for ever.',
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  examples: [42]
})

export const Timestamp = (description: string) =>
  Type.String({ description, examples: ['2024-01-15T10:30:00.123+00:00'] })

/** A schema that also admits null, in the one form that the serialiser handles without trial and error. */
export function orNull<T>(type: 'string' | 'number' | 'integer' | 'object', options: Record<string, unknown>) {
  return Type.Unsafe<T | null>({ type: [type, 'null'], ...options })
}

export const ExpiresAt = orNull<string>('string', {
  description: 'When the lock ends by itself; null never does.',
  examples: ['2024-01-15T10:35:00.123+00:00']
})

export const MetadataSchema = orNull<Record<string, unknown>>('object', {
  additionalProperties: true,
  description: 'A JSON object of at most 4 KiB to find again beside the lock; never interpreted.',
  examples: [{ host: 'worker-7' }]
})

/** The frame of every answer 200. */
export function answer<Data extends TObject>(description: string, data: Data, message: string, example: Static<Data>) {
  return Type.Object(
    { success: Type.Literal(true), message: Type.String(), data },
    { description, examples: [{ success: true, message, data: example }] }
  )
}

/** The frame of every refusal; `detail` is a sentence. */
export function refusal<Code extends string, Context extends Record<string, TSchema>>(
  description: string,
  code: Code,
  detail: string,
  context: Context,
  example: object
) {
  return Type.Object(
    { detail: Type.String(), code: Type.Literal(code), ...context },
    { description, examples: [{ detail, code, ...example }] }
  )
}

export const InvalidRequest = Type.Object(
  {
    detail: Type.Array(
      Type.Object({ type: Type.String(), loc: Type.Array(Type.Unsafe<string | number>({ type: ['string', 'integer'] })), msg: Type.String() })
    ),
    code: Type.Literal('INVALID_REQUEST')
  },
  {
    description: 'A fault of form, one entry each; nothing was changed.',
    examples: [{ detail: [{ type: 'missing', loc: ['body', 'resource_name'], msg: 'Field required' }], code: 'INVALID_REQUEST' }]
  }
)

const fault = (description: string, codes: readonly [string, ...string[]], detail: string) =>
  Type.Object(
    { detail: Type.String(), code: Type.Unsafe<string>({ type: 'string', enum: codes }) },
    { description, examples: [{ detail, code: codes[0] }] }
  )

/** What any call that reads or writes locks can meet. */
export const STORAGE_FAULTS = {
  500: fault('A bug of the service; it was logged.', ['INTERNAL'], 'Internal Server Error'),
  503: fault(
    'The database is away, its confirmation was lost (repeat the request to find out), or too much is waiting.',
    ['STORAGE_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'OVERLOADED', 'DRAINING'],
    'The database is not available; nothing was changed'
  ),
  507: fault('The disk is full; releasing still works.', ['STORAGE_FULL'], 'The disk of the database is full; nothing was changed')
}

/** What any call that takes a key can meet. */
export const KEY_FAULTS = {
  401: fault(
    'There are keys, and none was sent that is valid; with `WWW-Authenticate: Bearer`.',
    ['UNAUTHORIZED'],
    'This call needs an API key, sent as Authorization: Bearer KEY'
  ),
  403: fault('The scopes or the prefix of the key do not allow it; nothing was changed.', ['FORBIDDEN'], "The API key does not have the scope 'write'")
}

/** What any call can meet that is one too many. */
export const TOO_MANY = {
  429: fault('More than this caller, or everybody at that resource, may ask for; `Retry-After` says when to come back.', ['TOO_MANY_REQUESTS'], 'Too many requests are waiting for this resource; nothing was changed')
}

/** What any call with a body can meet beside those. */
export const BODY_FAULTS = {
  413: fault('The body is larger than MAX_BODY_BYTES, 64 KiB by default.', ['PAYLOAD_TOO_LARGE'], 'The body is larger than 64 KiB'),
  415: fault('The body is not sent as JSON.', ['UNSUPPORTED_MEDIA_TYPE'], 'The body must be sent as application/json')
}
