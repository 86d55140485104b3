import { connect, type Socket } from 'node:net'

/** What a socket reads into; an answer is looked at before the next is read. */
const BUFFER = Buffer.alloc(65_536)

const LENGTHS = { node: 'content-length: ', go: 'Content-Length: ' } as const

/** A connection to an HTTP server that has one request under way: of an answer only its status and its length are read. */
export class Connection {
  readonly #socket: Socket
  readonly #lengthHeader: string
  #head = ''
  #status = ''
  /** Bytes of the answer that have yet to come. */
  #missing = 0
  #settle: ((status: string) => void) | undefined

  /** @param writtenIn tells how the server spells its headers. */
  constructor(port: number, writtenIn: keyof typeof LENGTHS = 'node') {
    this.#lengthHeader = LENGTHS[writtenIn]
    const callback = (bytes: number): boolean => {
      this.#hear(bytes)
      return true
    }
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: BUFFER, callback } })
    this.#socket.on('error', (error) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    })
  }

  /** Sends a request and resolves to the status of the answer. */
  ask(request: string): Promise<string> {
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#socket.write(request, 'latin1')
    })
  }

  post(path: string, body: string): Promise<string> {
    return this.ask(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  }

  #hear(bytes: number): void {
    if (this.#missing > 0) this.#missing -= bytes
    else {
      this.#head += BUFFER.toString('latin1', 0, bytes)
      const headEnd = this.#head.indexOf('\r\n\r\n')
      if (headEnd === -1) return
      const at = this.#head.indexOf(this.#lengthHeader) + this.#lengthHeader.length
      this.#missing = headEnd + 4 + Number.parseInt(this.#head.slice(at, at + 10), 10) - this.#head.length
      this.#status = this.#head.slice(9, 12)
      this.#head = ''
    }
    if (this.#missing === 0) this.#settle?.(this.#status)
  }
}
