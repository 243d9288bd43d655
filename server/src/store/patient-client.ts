// A connection whose answers are awaited for a bounded time, and whose queries are short-lived garbage.
//
// `pg` has a setting for the first (`query_timeout`), at the price of the second: it keeps a function literal in a
// property of each query (`query.callback = (…) => …`), as its own promises do, and V8 makes such functions in the old
// generation. There they hold the query, its values and its rows until the whole heap is collected, though all of it was
// garbage a few milliseconds later. At 500 events a second that was most of what the old generation was given.
// Therefore: functions are passed, not assigned, and one timer watches the connection instead of each query.
import pg from 'pg'

type Settle = (error: Error | null, result?: unknown) => void

export interface PatientConfig extends pg.ClientConfig {
  /** Without an answer for so long, the connection is given up and all that was asked over it fails. */
  readonly patience_ms: number
}

class Patient extends pg.Client {
  readonly #patience_ms: number
  /** When the newest query was sent. */
  #askedMs = 0
  /** Whether answers are outstanding. */
  #asked = false
  #watch: NodeJS.Timeout | undefined

  constructor(config: PatientConfig) {
    super(config)
    this.#patience_ms = config.patience_ms
    this.on('drain', () => {
      this.#asked = false
    })
    this.on('end', () => clearTimeout(this.#watch))
  }

  /** As of `pg`: a promise, unless there is a callback. */
  override query(...args: never[]): never {
    this.#asked = true
    this.#askedMs = performance.now()
    if (this.#watch === undefined) this.#look(this.#patience_ms)
    return this.#send(args) as never
  }

  #send(args: readonly unknown[]): unknown {
    const [query, values, callback] = args as [{ submit?: unknown } | string, unknown, unknown]
    const isAnswered =
      typeof callback === 'function' ||
      typeof values === 'function' ||
      (typeof query === 'object' && typeof query.submit === 'function')
    if (isAnswered) return Reflect.apply(super.query, this, args)
    return new Promise((resolve, reject) => {
      const settle: Settle = (error, result) => (error ? reject(error) : resolve(result))
      Reflect.apply(super.query, this, [query, values, settle])
    }).catch(tracedToCaller)
  }

  #look(afterMs: number): void {
    this.#watch = setTimeout(() => {
      this.#watch = undefined
      if (!this.#asked) return
      const restMs = this.#askedMs + this.#patience_ms - performance.now()
      if (restMs > 0) this.#look(restMs)
      else this.connection.stream.destroy(new Error('Query read timeout'))
    }, afterMs)
    // The connection keeps the process alive, or not; this does not.
    this.#watch.unref()
  }
}

/** A client of `pg` in every other respect. */
export const PatientClient: new (config: PatientConfig) => pg.Client = Patient as never

/** As `pg` does: the stack would lead to the socket that the answer came from. */
function tracedToCaller(error: Error): never {
  Error.captureStackTrace(error)
  throw error
}
