/** The client: `record` waits for the receipt, `emit` never waits, `query` reads back. */

import { type BatchResult, batchRequest, readBatchReply, receiptsOf } from './batch.ts'
import type { Confirmation } from './confirm.ts'
import { type EmitOptions, type EmitStats, Emitter } from './emitter.ts'
import { AffidavitError } from './error.ts'
import type { AuditEvent, Page, Receipt, StoredEvent } from './event.ts'
import { uuidv7 } from './id.ts'
import { eachEvent, type Filter, filterQuery, type PageOptions } from './query.ts'
import { ReceiptKeeper, type ReceiptOptions } from './receipts.ts'
import { flushOnShutdown, type ShutdownSignal } from './shutdown.ts'
import { type Endpoint, type Limits, type Request, send } from './transport.ts'

export interface AffidavitOptions {
  /** Address of the server, for example `https://audit.example.com`. */
  url: string
  /** API key, `aff_…`. */
  key: string
  /** Tenant of events and queries that name none. Default: the key's own. */
  tenant?: string
  /** Name of this producer, for example the host: emitted events are then numbered, and lost ones show as gaps. */
  source?: string
  /** Bound of one attempt, in milliseconds. Default 10,000. */
  attemptTimeoutMs?: number
  /** Bound of one call with all its repeats, in milliseconds. Default 30,000. */
  timeoutMs?: number
  /** The background queue of `emit`. */
  emit?: EmitOptions
  /** Keep receipts until `confirm` has seen each under a checkpoint. Default: they are only returned by `record`. */
  receipts?: ReceiptOptions
  /** Flush before the process ends by itself. Default true. */
  flushBeforeExit?: boolean
  /** Signals on which to flush first, for example `['SIGTERM']`. Default none: a library should not claim signals. */
  flushOn?: ShutdownSignal[]
  /** Another implementation of fetch, for a proxy or tests. */
  fetch?: typeof fetch
}

export interface CallOptions {
  /** Bound of this call with all its repeats, in milliseconds. */
  timeoutMs?: number
  signal?: AbortSignal
}

const SHUTDOWN_MS = 5000

/** Makes a client. Throws TypeError if `url` or `key` cannot be right. */
export function createAffidavit(options: AffidavitOptions): Affidavit {
  return new Affidavit(options)
}

/** A client of one server: records, reads, proves. One for the life of a process; `close()` sends what still waits. */
export class Affidavit {
  readonly #endpoint: Endpoint
  readonly #options: AffidavitOptions
  readonly #emitter: Emitter
  readonly #receipts: ReceiptKeeper | undefined
  readonly #boot = uuidv7()
  readonly #removeHooks: () => void

  constructor(options: AffidavitOptions) {
    this.#options = options
    this.#endpoint = { url: baseUrl(options.url), key: checkedKey(options.key), fetch: options.fetch ?? fetch }
    const receipts = options.receipts && new ReceiptKeeper(options.receipts)
    this.#receipts = receipts
    this.#emitter = new Emitter({
      endpoint: this.#endpoint,
      attemptMs: options.attemptTimeoutMs ?? 10_000,
      prepare: (event, seq) => JSON.stringify(this.#numbered(event, seq)),
      options: options.emit ?? {},
      ...(receipts && { onReply: (reply) => receipts.keep(receiptsOf(reply)) }),
    })
    this.#removeHooks = flushOnShutdown(() => this.#emitter.flush(SHUTDOWN_MS), {
      beforeExit: options.flushBeforeExit ?? true,
      signals: options.flushOn ?? [],
    })
  }

  /**
   * Records one event and waits until it is sealed. Connection errors, 429 and 5xx are repeated until `timeoutMs`;
   * the event's id makes that safe. Throws AffidavitError.
   */
  async record(event: AuditEvent, options: CallOptions = {}): Promise<Receipt> {
    const reply = await this.#call(
      {
        method: 'POST',
        path: '/v1/events',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(this.#completed(event)),
      },
      options,
    )
    const receipt = { ...(reply.body as Receipt), duplicate: reply.status === 200 }
    await this.#receipts?.keep({ notes: [receipt.receipt], tenants: new Map([[receipt.trail, receipt.tenant]]) })
    return receipt
  }

  /**
   * Records many events in one request and waits until all are sealed. An event may be given as JSON text, which is sent
   * as it is. Refused events do not keep the others out: they are listed by their index.
   * `personal`: further personal values, as JSON Pointers into the events. Throws AffidavitError if the whole batch fails.
   */
  async recordMany(
    events: readonly (AuditEvent | string)[],
    options: CallOptions & { personal?: readonly string[] } = {},
  ): Promise<BatchResult> {
    if (events.length === 0) return { accepted: 0, duplicates: 0, rejected: 0, rejections: [] }
    const lines = events.map((event) => (typeof event === 'string' ? event : JSON.stringify(this.#completed(event))))
    const { personal = [] } = options
    const receipts = this.#receipts !== undefined
    const reply = await this.#call(await batchRequest(lines, { personal, receipts }), options)
    const result = readBatchReply(reply, events.length)
    await this.#receipts?.keep(receiptsOf(reply))
    return result
  }

  /**
   * Holds every kept receipt against the newest checkpoint of its trail; those that a checkpoint confirms are no longer
   * kept. Needs a key with the scope `verify`; `key` names another one for this call. One call at a time; never throws
   * for what the server does: see the members of the result.
   */
  async confirm(options: CallOptions & { key?: string } = {}): Promise<Confirmation> {
    if (this.#receipts === undefined)
      throw new TypeError('no receipts are kept: give createAffidavit the option receipts')
    const endpoint = { ...this.#endpoint, ...(options.key !== undefined && { key: checkedKey(options.key) }) }
    // Proofs are a good part of the SDK's code, and most processes never check one.
    const { confirmReceipts } = await import('./confirm.ts')
    return confirmReceipts(this.#receipts, (request) => send(endpoint, request, this.#limits(options)))
  }

  /** Records in the background: never throws, never waits. The event is copied at once. See `stats` for its fate. */
  emit(event: AuditEvent): void {
    this.#emitter.emit(event)
  }

  /** Waits until everything emitted so far was answered for; false if that took longer than `timeoutMs` (default 10,000). */
  flush(options: { timeoutMs?: number } = {}): Promise<boolean> {
    return this.#emitter.flush(options.timeoutMs ?? 10_000)
  }

  /** Flushes, then takes no more emitted events; what could not be sent in time is dropped and reported. */
  close(options: { timeoutMs?: number } = {}): Promise<boolean> {
    this.#removeHooks()
    return this.#emitter.close(options.timeoutMs ?? 10_000)
  }

  /** What became of emitted events so far. */
  stats(): EmitStats {
    return this.#emitter.stats()
  }

  /** Every event that matches, fetched page by page: `for await (const event of affidavit.query({ actor: 'user_1' }))`. */
  query(
    filter: Filter = {},
    options: CallOptions & { pageSize?: number } = {},
  ): AsyncGenerator<StoredEvent, void, undefined> {
    return eachEvent((page) => this.page(filter, page, options), options.pageSize ?? 100)
  }

  /** One page of events. */
  async page(filter: Filter = {}, page: PageOptions = {}, options: CallOptions = {}): Promise<Page> {
    const query = filterQuery({ ...this.#tenant(), ...filter }, page)
    const { body } = await this.#call({ method: 'GET', path: `/v1/events${query && `?${query}`}` }, options)
    const { data, next } = body as Partial<Page>
    if (!Array.isArray(data) || (next !== null && typeof next !== 'string')) {
      throw new AffidavitError({ status: 200, code: 'unexpected_reply', detail: 'the answer is not a page of events' })
    }
    return { data, next }
  }

  /** One event by its id. */
  async get(id: string, options: CallOptions & { tenant?: string } = {}): Promise<StoredEvent> {
    return (await this.#call({ method: 'GET', path: this.#eventPath(id, '', options.tenant) }, options))
      .body as StoredEvent
  }

  /** The proof that an event is in its trail, as the server gives it. */
  async proof(id: string, options: CallOptions & { tenant?: string } = {}): Promise<Record<string, unknown>> {
    const { body } = await this.#call({ method: 'GET', path: this.#eventPath(id, '/proof', options.tenant) }, options)
    return body as Record<string, unknown>
  }

  #call(request: Request, options: CallOptions) {
    return send(this.#endpoint, request, this.#limits(options))
  }

  #limits(options: CallOptions): Limits {
    return {
      attemptMs: this.#options.attemptTimeoutMs ?? 10_000,
      totalMs: options.timeoutMs ?? this.#options.timeoutMs ?? 30_000,
      ...(options.signal ? { signal: options.signal } : {}),
    }
  }

  #eventPath(id: string, rest: string, tenant = this.#options.tenant): string {
    const query = tenant === undefined ? '' : `?${new URLSearchParams({ tenant })}`
    return `/v1/events/${encodeURIComponent(id)}${rest}${query}`
  }

  #tenant(): { tenant?: string } {
    return this.#options.tenant === undefined ? {} : { tenant: this.#options.tenant }
  }

  #completed(event: AuditEvent): AuditEvent {
    return { id: uuidv7(), ...this.#tenant(), ...event }
  }

  #numbered(event: AuditEvent, seq: number): AuditEvent {
    const completed = { occurred_at: new Date(), ...this.#completed(event) }
    const id = this.#options.source
    return id === undefined || event.source ? completed : { ...completed, source: { id, boot: this.#boot, seq } }
  }
}

function baseUrl(url: string): string {
  const parsed = new URL(url)
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') throw new TypeError(`not an HTTP address: ${url}`)
  return `${parsed.origin}${parsed.pathname}`.replace(/\/+$/, '')
}

/** A key with a line break or a space would fail as a header deep inside fetch, with a message that quotes it. */
function checkedKey(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError('the API key is empty or contains characters that no key has')
  return key
}
