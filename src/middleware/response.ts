/** The part of Node's `ServerResponse` that the guards need; Express hands it out as it is, Fastify as `reply.raw`. */
export interface RawResponse {
  readonly statusCode: number
  readonly writableEnded: boolean
  readonly destroyed: boolean
  once(event: 'close' | 'finish' | 'prefinish', listener: () => void): unknown
}

/** Whether the client went away before it was answered. */
function isGone(response: RawResponse): boolean {
  return response.destroyed && !response.writableEnded
}

/**
 * Calls back once the request was answered, with whether the whole answer was handed to the network: it was not when the
 * client had gone by then.
 */
export function onAnswered(response: RawResponse, answered: (reached: boolean) => void): void {
  let gone = isGone(response)
  response.once('close', () => (gone = true))
  // An answer to a client that has gone is finished by nobody; that it was given is all there is to hear.
  response.once('prefinish', () => {
    if (gone) answered(false)
    else response.once('finish', () => answered(!gone))
  })
}

/** Resolves once the answer was sent or the client has gone, whichever is first. */
export function ended(response: RawResponse): Promise<void> {
  if (response.writableEnded || response.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    response.once('close', resolve)
    response.once('finish', resolve)
  })
}
