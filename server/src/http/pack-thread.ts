// The main thread's end of the making of packs: starts the thread when a pack is wanted, hands over what it sends piece by
// piece as fast as it is taken, and lets the thread go when no pack was wanted for a while.
import { Readable } from 'node:stream'
import type { Problem } from '../ingest/problem.ts'
import type { KeyPlace } from '../keys/open-provider.ts'
import { Background, Task } from '../store/background.ts'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Asked } from './pack-make.ts'
import { Refused, refuse } from './refused.ts'

export interface PackSettings {
  readonly login: Login
  /** What `openKeys` opened. */
  readonly keys: KeyPlace
  readonly logName: string
}

export interface WantedPack {
  /** Who reads, and how much; the caller has checked the key. */
  readonly reader: { readonly tenant: string; readonly operator: boolean; readonly confidential: boolean }
  readonly asked: Asked
}

/** Of one pack, named by its number. */
export type ToPacks = { readonly id: number } & (
  | ({ readonly type: 'make' } & WantedPack)
  /** So many further pieces may be sent. */
  | { readonly type: 'more'; readonly pieces: number }
  | { readonly type: 'cancel' }
)
export type FromPacks = { readonly id: number } & (
  | { readonly type: 'head'; readonly media: string; readonly headers: Readonly<Record<string, string>> }
  | { readonly type: 'piece'; readonly bytes: Uint8Array }
  | { readonly type: 'end' }
  | { readonly type: 'refused'; readonly problem: Problem; readonly headers: Readonly<Record<string, string>> }
  | { readonly type: 'failed'; readonly unavailable: boolean; readonly message: string }
)

/** Packs at once, of all tenants and of one: one thread makes them all, and a tenant is not to keep the others waiting. */
export const packsAtOnce = 6
export const packsOfTenant = 2
/** Pieces that may be on their way between the threads. */
export const piecesAhead = 3
const bufferedBytes = 1024 * 1024
/** A download that takes nothing for so long gives its place to another: it can be continued. */
const patience_ms = 60_000
const rest_ms = 60_000
const heap_mb = 192

export interface StreamedPack {
  readonly type: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readable
}

export class PackThread {
  readonly #settings: PackSettings
  readonly #log: Log
  readonly #patience_ms: number
  readonly #making = new Map<number, Making>()
  #task: Promise<Task<ToPacks, FromPacks>> | null = null
  #rest: NodeJS.Timeout | null = null
  #ids = 0
  #stopped = false

  /** Starts nothing yet. */
  constructor(settings: PackSettings, log: Log, patience = patience_ms) {
    this.#settings = settings
    this.#log = log
    this.#patience_ms = patience
  }

  /** Resolves once the pack begins. @throws Refused */
  async make(wanted: WantedPack): Promise<StreamedPack> {
    const { tenant } = wanted.reader
    this.#admit(tenant)
    const id = ++this.#ids
    const making = new Making(tenant, this.#patience_ms, {
      more: (pieces) => void this.#tell({ id, type: 'more', pieces }),
      close: () => this.#closed(id),
    })
    this.#making.set(id, making)
    if (this.#rest !== null) clearTimeout(this.#rest)
    try {
      const task = await this.#started()
      if (!task.send({ ...wanted, id, type: 'make' })) throw notNow('The thread that makes packs is starting.')
    } catch (error) {
      making.fail(error as Error)
    }
    return making.begun
  }

  /** Ends what is under way; whoever downloads can go on later. */
  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#rest !== null) clearTimeout(this.#rest)
    for (const making of this.#making.values()) making.fail(notNow('The server stops.'))
    await this.#end()
  }

  #admit(tenant: string): void {
    if (this.#stopped) throw notNow('The server stops.')
    const ofTenant = [...this.#making.values()].filter((making) => making.tenant === tenant).length
    if (ofTenant >= packsOfTenant)
      throw refuse(
        'rate_limited',
        `${packsOfTenant} packs of this tenant are being made already.`,
        undefined,
        retryLater,
      )
    if (this.#making.size >= packsAtOnce) throw notNow(`${packsAtOnce} packs are being made already.`)
  }

  #started(): Promise<Task<ToPacks, FromPacks>> {
    if (this.#task !== null) return this.#task
    const starting = Task.start<ToPacks, FromPacks>(
      new Background(this.#log, { megabytes: heap_mb }),
      {
        name: 'the making of packs',
        module: new URL('./pack-worker.ts', import.meta.url),
        settings: this.#settings,
        onMessage: (message) => this.#making.get(message.id)?.hear(message),
        onEnd: () => {
          for (const making of this.#making.values()) making.fail(notNow('The thread that makes packs ended.'))
        },
      },
      this.#log,
    )
    this.#task = starting
    starting.catch((error: unknown) => {
      this.#log.error({ err: error }, 'packs cannot be made')
      if (this.#task === starting) this.#task = null
    })
    return starting.catch(() => {
      throw notNow('Packs cannot be made at the moment.')
    })
  }

  async #tell(message: ToPacks): Promise<void> {
    const task = await this.#task?.catch(() => null)
    task?.send(message)
  }

  #closed(id: number): void {
    if (!this.#making.delete(id)) return
    void this.#tell({ id, type: 'cancel' })
    if (this.#making.size > 0 || this.#stopped) return
    this.#rest = setTimeout(() => void this.#end(), rest_ms).unref()
  }

  async #end(): Promise<void> {
    const task = this.#task
    this.#task = null
    await (await task?.catch(() => null))?.stop()
  }
}

const retryLater = { 'retry-after': '10' }
const notNow = (detail: string): Refused => refuse('unavailable', detail, undefined, retryLater)

interface Way {
  readonly more: (pieces: number) => void
  /** Called once, whatever the end was. */
  readonly close: () => void
}

/** One pack on its way. */
class Making {
  readonly tenant: string
  readonly begun: Promise<StreamedPack>
  readonly #way: Way
  readonly #patience_ms: number
  #begin!: (pack: StreamedPack) => void
  #refuse!: (error: Error) => void
  #body: Readable | null = null
  /** Pieces that were taken and not yet told. */
  #owed = 0
  /** Bytes that lay here when it was last looked. */
  #left = 0
  #timer: NodeJS.Timeout | undefined

  constructor(tenant: string, patience: number, way: Way) {
    this.tenant = tenant
    this.#way = way
    this.#patience_ms = patience
    this.begun = new Promise((resolve, reject) => {
      this.#begin = resolve
      this.#refuse = reject
    })
    this.begun.catch(() => undefined)
  }

  hear(message: FromPacks): void {
    if (message.type === 'head') this.#head(message.media, message.headers)
    else if (message.type === 'piece') this.#piece(message.bytes)
    else if (message.type === 'end') this.#body?.push(null)
    else if (message.type === 'refused') this.fail(new Refused(message.problem, message.headers))
    else
      this.fail(
        message.unavailable ? notNow('The database cannot be reached at the moment.') : new Error(message.message),
      )
  }

  /** Before the pack begins its asker is told; later the connection breaks, which no reader takes for an end. */
  fail(error: Error): void {
    if (this.#body !== null) this.#body.destroy(error)
    else {
      this.#refuse(error)
      this.#way.close()
    }
  }

  #head(type: string, headers: Readonly<Record<string, string>>): void {
    const body = new Readable({ highWaterMark: bufferedBytes, read: () => this.#taken() })
    body.on('close', () => {
      clearTimeout(this.#timer)
      this.#way.close()
    })
    this.#timer = setTimeout(() => this.#wait(), this.#patience_ms).unref()
    this.#body = body
    this.#begin({ type, headers, body })
  }

  #piece(bytes: Uint8Array): void {
    this.#owed++
    if (this.#body!.push(bytes)) this.#taken()
  }

  #taken(): void {
    if (this.#owed === 0) return
    this.#way.more(this.#owed)
    this.#owed = 0
  }

  /** What lies here waits for the reader; where nothing does, it is the reader who waits. */
  #wait(): void {
    const left = this.#body!.readableLength
    if (left > 0 && left === this.#left) this.#body!.destroy(new Error('nobody takes the pack'))
    else this.#timer?.refresh()
    this.#left = left
  }
}
