// Statements that answer with one value, hundreds of times a second. `pg` describes each answer, makes an object of it and
// of its columns, and its pool sets two timers and four listeners to lend a connection for it: more than half of what such
// a statement costs this process. Here its messages go out together, the value is the answer, and the connections that
// carry it are kept.
import type pg from 'pg'

/** A statement that stays prepared. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** Texts and, for binary formats, bytes. */
export type Parameters = readonly (string | Buffer | null)[]

/** What `pg` calls its Connection: the protocol's messages, and what it remembers of prepared statements. */
interface Wire {
  readonly stream: { cork(): void; uncork(): void }
  readonly parsedStatements: Record<string, string | undefined>
  readonly submittedNamedStatements: Record<string, string | undefined>
  parse(message: Statement): void
  bind(message: { statement: string; values: Parameters }): void
  execute(): void
  sync(): void
}

type Settle = (error: Error | null, value: string | null) => void

/** A query as `pg.Client` takes them (its Submittable); not for pipelined connections. */
class OneValue implements Statement {
  readonly name: string
  readonly text: string
  /** `pg` wants to see one. */
  readonly callback: Settle
  readonly #values: Parameters
  #value: string | null = null

  constructor({ name, text }: Statement, values: Parameters, settle: Settle) {
    this.name = name
    this.text = text
    this.callback = settle
    this.#values = values
  }

  submit(wire: Wire): null {
    const { name, text } = this
    wire.stream.cork()
    try {
      if ((wire.parsedStatements[name] ?? wire.submittedNamedStatements[name]) === undefined) {
        wire.parse({ name, text })
        wire.submittedNamedStatements[name] = text
      }
      wire.bind({ statement: name, values: this.#values })
      wire.execute()
      wire.sync()
    } finally {
      wire.stream.uncork()
    }
    return null
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    this.#value = fields[0]!
  }

  handleCommandComplete(): void {
    // The transaction ends with the message after it.
  }

  handleError(error: Error): void {
    this.callback(error, null)
  }

  handleReadyForQuery(): void {
    this.callback(null, this.#value)
  }
}

function ask(client: pg.PoolClient, statement: Statement, values: Parameters): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const settle: Settle = (error, value) => (error === null ? resolve(value) : reject(error))
    client.query(new OneValue(statement, values, settle) as never)
  })
}

/**
 * SQLSTATEs that say something of the statement and nothing of the session: our own, of the data, of constraints, of
 * serialization, of sizes. Events that come again are refused with one of them, and a connection costs as much as a hundred
 * events.
 */
const aboutStatement = /^(AF|22|23|40|54)...$/

/** Connections of a pool that are not given back between two statements, unless they break. */
export class KeptConnections {
  readonly #connect: () => Promise<pg.PoolClient>
  readonly #most: number
  readonly #all = new Set<pg.PoolClient>()
  readonly #idle: pg.PoolClient[] = []
  #ended = false

  /** @param most how many are kept; the rest of the pool is for everything else */
  constructor(connect: () => Promise<pg.PoolClient>, most: number) {
    this.#connect = connect
    this.#most = most
  }

  /** The first column of the only row, as PostgreSQL prints it. @throws as `pg` */
  async value(statement: Statement, values: Parameters): Promise<string | null> {
    const client = this.#idle.pop() ?? (await this.#take())
    try {
      const value = await ask(client, statement, values)
      this.#giveBack(client)
      return value
    } catch (error) {
      if (aboutStatement.test((error as { code?: string }).code ?? '')) this.#giveBack(client)
      else {
        this.#all.delete(client)
        client.release(true)
      }
      throw error
    }
  }

  /** Gives back what is idle now, and the others when they have their answers. */
  end(): void {
    this.#ended = true
    for (const client of this.#idle.splice(0)) client.release()
  }

  #giveBack(client: pg.PoolClient): void {
    if (this.#ended || !this.#all.has(client)) client.release()
    else this.#idle.push(client)
  }

  async #take(): Promise<pg.PoolClient> {
    const client = await this.#connect()
    if (this.#all.size < this.#most && !this.#ended) {
      this.#all.add(client)
      client.once('end', () => this.#lost(client))
    }
    return client
  }

  /** One that is lost under a statement is dropped when that fails. */
  #lost(client: pg.PoolClient): void {
    const at = this.#idle.indexOf(client)
    if (at === -1) return
    this.#idle.splice(at, 1)
    this.#all.delete(client)
    client.release(true)
  }
}
