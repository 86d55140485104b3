import { Type, type Static, type TProperties, type TLiteral, type TObject, type TSchema } from '@sinclair/typebox'
import { faultOfCharacters, MAX_NAME_CHARACTERS, type ProcessId, type ResourceName } from '../../locks/lock.js'

/** The alternatives behind a schema that the serialiser knows as one; see {@link eitherOf}. */
export const ALTERNATIVES = 'x-alternatives'

/**
 * An answer that is one of several named refusals, told apart by their `code`. The serialiser gets one schema with the fields
 * of all of them, since trying each would cost several times more; the document gets `oneOf` and a discriminator.
 */
export function eitherOf<Refusals extends readonly TObject[]>(description: string, ...refusals: Refusals) {
  const codes = refusals.map(codeOf)
  const [first, ...others] = refusals
  return Type.Unsafe<Static<Refusals[number]>>({
    type: 'object',
    description,
    properties: { ...Object.assign({}, ...refusals.map(({ properties }) => properties)) as TProperties, code: { type: 'string', enum: codes } },
    required: (first?.required ?? []).filter((name) => others.every(({ required = [] }) => required.includes(name))),
    examples: (first?.['examples'] as unknown[] | undefined) ?? [],
    [ALTERNATIVES]: refusals
  })
}

export function codeOf({ properties }: TObject): string {
  const { const: value, enum: [first] = [] } = properties['code'] as { const?: string; enum?: string[] }
  return value ?? first ?? ''
}

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
  description: 'The number of a grant. Each grant of a resource has a larger one than every earlier grant of it, forever.',
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

/** The frame of every refusal, under a name of its own in the document; `detail` is a sentence. */
export function refusal<Code extends string, Context extends Record<string, TSchema> = { readonly code: TLiteral<Code> }>(
  title: string,
  description: string,
  code: Code,
  detail: string,
  context = {} as Context,
  example: object = {}
) {
  return Type.Object({ detail: Type.String(), code: Type.Literal(code), ...context }, { title, description, examples: [{ detail, code, ...example }] })
}

export const InvalidRequest = Type.Object(
  {
    detail: Type.Array(
      Type.Object(
        {
          type: Type.String({ description: 'The kind of fault, for programs.' }),
          loc: Type.Array(Type.Unsafe<string | number>({ type: ['string', 'integer'] }), { description: 'Where it is: `body`, `query`, `path` or `headers`, and the way from there.' }),
          msg: Type.String({ description: 'The fault in words.' })
        },
        { title: 'InputFault' }
      )
    ),
    code: Type.Literal('INVALID_REQUEST')
  },
  {
    title: 'InvalidRequest',
    description: 'A fault of form, one entry each; nothing was changed.',
    examples: [{ detail: [{ type: 'missing', loc: ['body', 'resource_name'], msg: 'Field required' }], code: 'INVALID_REQUEST' }]
  }
)

/** What any call that reads or writes locks can meet. */
export const STORAGE_FAULTS = {
  500: refusal('InternalError', 'A bug of the service; it was logged.', 'INTERNAL', 'Internal Server Error'),
  503: eitherOf(
    'The database is away, its confirmation was lost (repeat the request to find out), too much is waiting, or the service is being stopped.',
    refusal('StorageUnavailable', 'The database is away; nothing was changed.', 'STORAGE_UNAVAILABLE', 'The database is not available; nothing was changed'),
    refusal(
      'OutcomeUnknown',
      'The change may or may not have happened; the same request with the same `request_id` finds out.',
      'OUTCOME_UNKNOWN',
      'The connection to the database broke before it confirmed the change; it may or may not have happened'
    ),
    refusal('Overloaded', 'Too much is waiting for the database; nothing was changed.', 'OVERLOADED', 'Too many requests are waiting for the database; nothing was changed'),
    refusal('Draining', 'The service is being stopped; nothing was changed.', 'DRAINING', 'The service is shutting down; nothing was changed')
  ),
  507: refusal('StorageFull', 'The disk is full; releasing still works.', 'STORAGE_FULL', 'The disk of the database is full; nothing was changed')
}

/** What any call that takes a key can meet. */
export const KEY_FAULTS = {
  401: refusal(
    'Unauthorized',
    'There are keys, and none was sent that is valid; with `WWW-Authenticate: Bearer`.',
    'UNAUTHORIZED',
    'This call needs an API key, sent as Authorization: Bearer KEY'
  ),
  403: eitherOf(
    'The scopes or the prefix of the key do not allow it, or a page of another site tries to change something.',
    refusal('Forbidden', 'The scopes or the prefix of the key do not allow it; nothing was changed.', 'FORBIDDEN', "The API key does not have the scope 'write'"),
    refusal(
      'CrossSite',
      'A page of an origin that CORS_ORIGIN does not name tries to change something; nothing was changed.',
      'CROSS_SITE',
      'A page of another site may not change anything here; an operator may add its origin to CORS_ORIGIN'
    )
  )
}

/** What any call can meet that is one too many. */
export const TOO_MANY = {
  429: refusal(
    'TooManyRequests',
    'More than this caller, or everybody at that resource, may ask for; `Retry-After` says when to come back.',
    'TOO_MANY_REQUESTS',
    'Too many requests are waiting for this resource; nothing was changed'
  )
}

/** What any call with a body can meet beside those. */
export const BODY_FAULTS = {
  413: refusal('PayloadTooLarge', 'The body is larger than MAX_BODY_BYTES, 64 KiB by default.', 'PAYLOAD_TOO_LARGE', 'The body is larger than 64 KiB'),
  415: refusal('UnsupportedMediaType', 'The body is not sent as JSON.', 'UNSUPPORTED_MEDIA_TYPE', 'The body must be sent as application/json')
}

/** What even a call that takes no key can meet. */
export const UNKNOWN_HOST = {
  421: refusal(
    'UnknownHost',
    'The service is asked by a host name that it does not know; see ALLOWED_HOSTS.',
    'UNKNOWN_HOST',
    'This service is not known by the host name that was asked for; an operator may add it to ALLOWED_HOSTS'
  )
}
