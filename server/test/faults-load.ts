// Clients that behave as clients should: several connections, batches and single events, every event of theirs with an
// id is repeated until it is acknowledged, and every acknowledgement is kept for the oracle (check-trail.ts).
import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Acknowledged } from './check-trail.ts'

export interface LoadOptions {
  urls: readonly string[]
  key: string
  tenants: readonly string[]
  connections: number
  /** Most events of a batch. */
  batch?: number
}

interface Sent {
  id?: string
  tenant: string
  [field: string]: unknown
}

interface Result {
  status: number
  id: string
  tenant: string
  seq: number
  hash: string
  previous_hash: string
  receipt: number | string
  error?: { code: string; detail: string }
}

/** How long a client waits for an answer. */
const patience_ms = 60_000

export class Load {
  readonly acknowledged: Acknowledged[] = []
  /** Events with an id that were sent and not acknowledged; their fate is unknown. */
  readonly pending = new Map<string, Sent>()
  /** Refusals other than 503, and answers that no client should ever see. */
  readonly wrong: string[] = []
  /** Answers of 503, with how long each took. */
  readonly refused: { status: number; retryAfter: string | null; ms: number; text: string }[] = []
  readonly #options: LoadOptions
  #running: Promise<void>[] = []
  #stopping = false

  constructor(options: LoadOptions) {
    this.#options = options
  }

  get tenants(): readonly string[] {
    return this.#options.tenants
  }

  start(): void {
    this.#stopping = false
    this.#running = Array.from({ length: this.#options.connections }, (_, n) => this.#client(n))
  }

  /** Lets requests under way end and stops. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#running)
  }

  /** Repeats everything whose fate is unknown, by its id, until each is acknowledged. @throws if a minute settles nothing */
  async settle(within_ms = 60_000): Promise<void> {
    let [left, until] = [this.pending.size, Date.now() + within_ms]
    while (this.pending.size > 0) {
      if (this.pending.size < left) [left, until] = [this.pending.size, Date.now() + within_ms]
      if (Date.now() > until) throw new Error(`${left} events cannot be repeated: ${this.wrong[0]}`)
      const url = this.#options.urls[randomInt(this.#options.urls.length)]!
      const rest = [...this.pending.values()].slice(0, 500)
      if (!(await this.#send(url, rest))) await sleep(50)
    }
  }

  async #client(n: number): Promise<void> {
    for (let turn = 0; !this.#stopping; turn++) {
      const url = this.#options.urls[(n + turn) % this.#options.urls.length]!
      const count = randomInt(4) === 0 ? 1 : randomInt(1, (this.#options.batch ?? 60) + 1)
      const events = Array.from({ length: count }, () => this.#event())
      // One in five batches repeats what may be under way on another connection at this very moment.
      if (randomInt(5) === 0) events.push(...[...this.pending.values()].slice(-randomInt(1, 4)))
      for (const event of events) if (event.id !== undefined) this.pending.set(event.id, event)
      if (!(await this.#send(url, events))) await sleep(20)
    }
  }

  #event(): Sent {
    const { tenants } = this.#options
    const person = randomInt(400)
    return {
      ...(randomInt(3) > 0 && { id: `load-${randomBytes(9).toString('hex')}` }),
      tenant: tenants[randomInt(tenants.length)]!,
      action: ['user.login', 'document.updated', 'invoice.exported'][randomInt(3)],
      actor: { type: 'user', id: `user_${person}`, name: `Person ${person}`, email: `p${person}@example.com` },
      targets: [{ type: 'document', id: `doc_${randomInt(5_000)}` }],
      context: { ip: `10.0.${randomInt(4)}.${randomInt(250)}`, request_id: randomBytes(6).toString('hex') },
      metadata: { marker: randomBytes(8).toString('hex') },
    }
  }

  /** @returns whether it was answered with anything but a refusal to serve */
  async #send(url: string, events: readonly Sent[]): Promise<boolean> {
    const single = events.length === 1
    const headers = { authorization: `Bearer ${this.#options.key}`, 'content-type': 'application/json' }
    const started = Date.now()
    let status: number
    let text: string
    let retryAfter: string | null
    try {
      const response = await fetch(`${url}/v1/events${single ? '' : '/batch'}`, {
        method: 'POST',
        headers,
        body: JSON.stringify(single ? events[0] : events),
        signal: AbortSignal.timeout(patience_ms),
      })
      status = response.status
      retryAfter = response.headers.get('retry-after')
      text = await response.text()
    } catch (error) {
      if ((error as Error).name === 'TimeoutError') this.wrong.push(`no answer within ${patience_ms} ms`)
      return false // killed in the middle: the answer never came
    }
    if (status === 503) this.refused.push({ status, retryAfter, ms: Date.now() - started, text })
    else if (status !== 200 && status !== 201) this.wrong.push(`${status} ${text.slice(0, 500)}`)
    else if (single) this.#took(events[0]!, JSON.parse(text) as Result)
    else this.#tookAll(events, JSON.parse(text) as { results: Result[]; receipts: string[] })
    return status < 300
  }

  #tookAll(events: readonly Sent[], { results, receipts }: { results: Result[]; receipts: string[] }): void {
    for (const [i, result] of results.entries()) {
      if (result.error === undefined)
        this.#took(events[i]!, { ...result, receipt: receipts[result.receipt as number]! })
      else if (result.status !== 503) this.wrong.push(`${result.status} ${result.error.code}: ${result.error.detail}`)
    }
  }

  #took(sent: Sent, result: Result): void {
    if (sent.id !== undefined) {
      this.pending.delete(sent.id)
      if (result.id !== sent.id) this.wrong.push(`${sent.id} was answered as ${result.id}`)
    }
    this.acknowledged.push({
      id: result.id,
      tenant: sent.tenant,
      seq: result.seq,
      hash: result.hash,
      previous: result.previous_hash,
      receipt: result.receipt as string,
      marker: (sent.metadata as { marker: string }).marker,
    })
  }
}
