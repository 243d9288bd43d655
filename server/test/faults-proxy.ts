// A connection to PostgreSQL that fails at a chosen moment: a TCP proxy which follows the protocol far enough to know
// where a seal statement begins, where it ends, and when its answer has come (PostgreSQL documentation, "Message Formats").
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestServer } from './postgres.ts'

/** Where the connection that carries the next seal statement is cut. */
export type Cut =
  /** Before any of it is sent on. */
  | 'before it is sent'
  /** Once all of it was sent on, whatever has become of it. */
  | 'while it runs'
  /** Once its answer has come, which is thrown away. */
  | 'before its answer is read'
  /** Nothing is sent on until `deliver` is called, long after the sender was cut off. */
  | 'and it arrives late'

export class PostgresProxy {
  readonly login: TestServer
  readonly #upstream: TestServer
  readonly #server: Server
  readonly #clients = new Set<Socket>()
  #next: { cut: Cut; done: () => void } | null = null
  #down = false
  #late: (() => Promise<void>) | null = null

  private constructor(upstream: TestServer, server: Server) {
    this.#upstream = upstream
    this.#server = server
    this.login = { ...upstream, host: '127.0.0.1', port: (server.address() as { port: number }).port }
    server.on('connection', (client) => this.#carry(client))
  }

  static async open(upstream: TestServer): Promise<PostgresProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new PostgresProxy(upstream, server)
  }

  /** Arms one cut. @returns resolves when it has happened */
  cut(cut: Cut): Promise<void> {
    return new Promise((done) => {
      this.#next = { cut, done }
    })
  }

  /** Ends all connections and admits none until `up`. */
  down(): void {
    this.#down = true
    for (const client of this.#clients) client.destroy()
  }

  up(): void {
    this.#down = false
  }

  /** Sends on the statement held back by the cut 'and it arrives late', and waits for PostgreSQL's word on it. */
  async deliver(): Promise<void> {
    const late = this.#late
    this.#late = null
    await late?.()
  }

  async close(): Promise<void> {
    this.down()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #carry(client: Socket): void {
    client.on('error', () => {})
    if (this.#down) return void client.destroy()
    const { host, port } = this.#upstream
    const server = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
    server.on('error', () => client.destroy())
    this.#clients.add(client)
    const passage = new Passage(client, server, () => {
      const next = this.#next
      this.#next = null
      return next
    })
    passage.onLate = (deliver) => {
      this.#late = deliver
    }
    client.on('close', () => {
      this.#clients.delete(client)
      if (!passage.held) server.destroy()
    })
    server.on('close', () => client.destroy())
  }
}

/** One connection: messages from the client are looked at, those from the server only after an armed seal statement. */
class Passage {
  /** Whether the server's side outlives the client's. */
  held = false
  onLate: (deliver: () => Promise<void>) => void = () => {}
  readonly #client: Socket
  readonly #server: Socket
  readonly #take: () => { cut: Cut; done: () => void } | null
  #rest: Buffer = Buffer.alloc(0)
  #started = false
  #armed: { cut: Cut; done: () => void } | null = null
  #keptBack: Buffer[] = []
  #answer: Buffer = Buffer.alloc(0)
  #swallow = false

  constructor(client: Socket, server: Socket, take: () => { cut: Cut; done: () => void } | null) {
    this.#client = client
    this.#server = server
    this.#take = take
    client.on('data', (chunk) => this.#fromClient(chunk))
    server.on('data', (chunk) => this.#fromServer(chunk))
  }

  #fromClient(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (;;) {
      // The first message has no type; all others are a type byte and a length that counts itself.
      const head = this.#started ? 1 : 0
      if (this.#rest.length < head + 4) return
      const length = head + this.#rest.readUInt32BE(head)
      if (this.#rest.length < length) return
      const message = this.#rest.subarray(0, length)
      this.#rest = this.#rest.subarray(length)
      this.#message(message)
      this.#started = true
    }
  }

  #message(message: Buffer): void {
    if (this.#started && message[0] === 0x42 /* Bind */ && message.includes('\0seal\0', 5, 'latin1')) {
      this.#armed = this.#take()
    }
    if (this.#armed?.cut === 'before it is sent') this.#cut()
    else if (this.#armed?.cut === 'and it arrives late') this.#keptBack.push(message)
    else this.#server.write(message)
    if (this.#armed === null || message[0] !== 0x53 /* Sync */) return
    if (this.#armed.cut === 'while it runs') this.#server.end(() => this.#cut())
    else if (this.#armed.cut === 'before its answer is read') this.#swallow = true
    else if (this.#armed.cut === 'and it arrives late') {
      this.held = true
      this.onLate(async () => {
        this.#server.write(Buffer.concat(this.#keptBack))
        this.#swallow = true
        await once(this.#server, 'close')
      })
      this.#cut()
    }
  }

  #fromServer(chunk: Buffer): void {
    if (!this.#swallow) return void this.#client.write(chunk)
    this.#answer = Buffer.concat([this.#answer, chunk])
    // ReadyForQuery ends an answer: 'Z', length 5, and the transaction's state.
    if (this.#answer.length >= 6 && this.#answer.at(-6) === 0x5a) {
      if (this.held) this.#server.destroy()
      else this.#cut()
    }
  }

  #cut(): void {
    this.#client.destroy()
    if (!this.held) this.#server.destroy()
    this.#armed?.done()
  }
}
