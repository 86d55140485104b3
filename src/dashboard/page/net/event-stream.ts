export interface ServerEvent {
  readonly id: string | null
  readonly event: string
  readonly data: string
}

/**
 * Reads server-sent events (WHATWG HTML, section 9.2) from a stream. `EventSource` would do so by itself, but cannot send a
 * key in a header. A comment comes out as null: a sign of life.
 */
export async function* readEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent | null> {
  const reader = stream.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  let fields: { id: string | null; event: string; data: string[] } = { id: null, event: 'message', data: [] }
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n/)
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line === '') {
          if (fields.data.length > 0) yield { ...fields, data: fields.data.join('\n') }
          fields = { id: null, event: 'message', data: [] }
          continue
        }
        const colon = line.indexOf(':')
        if (colon === 0) yield null
        const field = colon < 0 ? line : line.slice(0, colon)
        const text = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
        if (field === 'data') fields.data.push(text)
        else if (field === 'event') fields.event = text
        else if (field === 'id') fields.id = text
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
