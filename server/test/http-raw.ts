// HTTP as bytes over a socket, for what no client library would send.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: Buffer
}

/** One connection; answers are read one after the other. */
export class RawConnection {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #ended = false

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
    })
    socket.on('error', () => {}) // a server may reset a connection; what counts is what it answered before
    socket.on('close', () => {
      this.#ended = true
    })
  }

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    const connection = new RawConnection(socket)
    await once(socket, 'connect')
    return connection
  }

  write(bytes: string | Buffer): this {
    if (this.socket.writable) this.socket.write(bytes)
    return this
  }

  /** The next answer (with Content-Length or chunked), or undefined when the connection ends without one. */
  async answer(patience_ms = 10_000): Promise<RawAnswer | undefined> {
    const until = Date.now() + patience_ms
    for (;;) {
      const taken = this.#take()
      if (taken !== undefined) return taken
      if (this.#ended) return undefined
      if (Date.now() > until) throw new Error('no answer in time')
      await new Promise((resolve) => {
        this.socket.once('data', resolve).once('close', resolve)
        setTimeout(resolve, 50)
      })
    }
  }

  close(): void {
    this.socket.destroy()
  }

  #take(): RawAnswer | undefined {
    const end = this.#received.indexOf('\r\n\r\n')
    if (end === -1) return undefined
    const [line, ...fields] = this.#received.toString('latin1', 0, end).split('\r\n')
    const headers = new Headers(fields.map((field) => field.split(/: ?/, 2) as [string, string]))
    const start = end + 4
    const body =
      headers.get('transfer-encoding') === 'chunked'
        ? dechunked(this.#received, start)
        : sized(this.#received, start, Number(headers.get('content-length') ?? 0))
    if (body === undefined) return undefined
    this.#received = this.#received.subarray(body.end)
    return { status: Number(line!.split(' ')[1]), headers, body: body.bytes }
  }
}

function sized(received: Buffer, start: number, length: number): { bytes: Buffer; end: number } | undefined {
  const end = start + length
  return received.length < end ? undefined : { bytes: received.subarray(start, end), end }
}

function dechunked(received: Buffer, start: number): { bytes: Buffer; end: number } | undefined {
  const chunks: Buffer[] = []
  for (let at = start; ; ) {
    const line = received.indexOf('\r\n', at)
    if (line === -1) return undefined
    const size = Number.parseInt(received.toString('latin1', at, line), 16)
    const end = line + 2 + size + 2
    if (received.length < end) return undefined
    if (size === 0) return { bytes: Buffer.concat(chunks), end }
    chunks.push(received.subarray(line + 2, line + 2 + size))
    at = end
  }
}
