/** One message of a stream of server-sent events. */
export interface Message {
  readonly event: string
  readonly data: string
  readonly id: string | undefined
}

/** Comments and the rest of what keeps a connection open. */
const NOTHING = null

/**
 * Reads server-sent events (WHATWG HTML, section 9.2.6) from chunks of text that are cut anywhere. A sign of life without a
 * message is given as null.
 */
export class EventStreamParser {
  #rest = ''
  #event = ''
  #data: string[] = []
  #id: string | undefined

  /** The messages that the chunk completes. */
  *push(chunk: string): Generator<Message | typeof NOTHING> {
    const text = this.#rest + chunk
    // A carriage return at the end may be the first half of a line's end.
    const lines = text.split(/\r\n|\n|\r(?!$)/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.startsWith(':')) yield NOTHING
      else if (line !== '') this.#field(line)
      else if (this.#data.length > 0) yield this.#complete()
    }
  }

  #field(line: string): void {
    const colon = line.indexOf(':')
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (name === 'event') this.#event = value
    else if (name === 'data') this.#data.push(value)
    else if (name === 'id') this.#id = value
  }

  #complete(): Message {
    const message = { event: this.#event === '' ? 'message' : this.#event, data: this.#data.join('\n'), id: this.#id }
    this.#event = ''
    this.#data = []
    return message
  }
}
