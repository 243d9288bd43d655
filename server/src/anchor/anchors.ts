// Keeps copies of the registry's checkpoints with others: every new one goes to every witness, and now and then one to
// each further place. Each of them is served on its own, so a slow or dead one holds up nobody; none of them holds up the
// registry, which never waits for any. What fails is tried again, ever more seldom; what answers wrongly is alarmed.
//
// Of several processes on one database, one does this: it holds a lock for as long as its session lives.
import { setTimeout as sleep } from 'node:timers/promises'
import { meetsQuorum, type TrustPolicy, toBase64 } from '@affidavit/trail'
import type pg from 'pg'
import { type Pool, StoreUnavailable, storeError } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Outbound } from './outbound.ts'
import { type Document, type Place, WrongAnswer } from './place.ts'
import { type RegistryHead, RegistryLog } from './registry-log.ts'
import { type AnchorState, keepStates, readStates, untried, writePlaced, writeState } from './states.ts'
import { type AskedWitness, askWitness } from './witness.ts'

export interface AnchorsOptions {
  /** Role notary. */
  readonly pool: Pool
  /** A session of its own, for the lock. */
  readonly session: () => Promise<pg.Client>
  readonly log: Log
  /** Null without a policy file. */
  readonly policy: TrustPolicy | null
  readonly places: readonly Place[]
  readonly outbound: Outbound
  /** Between looks at the registry; default 1,000. */
  readonly interval_ms?: number
  /** First wait after a failure, then twice that each time; default 5,000 for witnesses, 30,000 for places. */
  readonly retry_ms?: number
}

const advisory_lock = 0x616e6368
/** Between two tries to take over from another process. */
const standby_intervals = 5
const retry_ms = { witness: 5_000, place: 30_000 }
const longest_retry_ms = { witness: 5 * 60_000, place: 3_600_000 }
/** How long a place waits for the cosignatures of a new checkpoint. */
const quorum_patience_ms = 15_000
const stop_patience_ms = 3_000
/** A failure that goes on is told again after so many tries. */
const told_again = 20

type Target = { readonly witness: AskedWitness } | { readonly place: Place }

export class Anchors {
  readonly #options: AnchorsOptions
  readonly #log: RegistryLog
  readonly #targets: readonly Target[]
  readonly #states = new Map<Target, AnchorState>()
  readonly #busy = new Map<Target, Promise<void>>()
  /** Places that are due, and since when they wait for a checkpoint with its cosignatures. */
  readonly #waiting = new Map<Target, number>()
  readonly #stopping = new AbortController()
  #woken = new AbortController()
  readonly #interval_ms: number
  #session: pg.Client | null = null
  /** Until then another process has the lock, as far as this one knows. */
  #standby_ms = 0
  #running: Promise<void> | null = null
  #told: string | null = null

  constructor(options: AnchorsOptions) {
    this.#options = options
    this.#interval_ms = options.interval_ms ?? 1_000
    this.#log = new RegistryLog(options.pool)
    this.#targets = [
      ...witnessesOf(options).map((witness) => ({ witness })),
      ...options.places.map((place) => ({ place })),
    ]
  }

  /** Runs until `stop`. A database that is away is waited for. */
  start(): void {
    this.#running ??= this.#run()
  }

  /** There may be a new checkpoint. */
  wake(): void {
    this.#woken.abort()
  }

  /** Gives up what is under way: whoever starts next does it again. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#woken.abort()
    this.#options.outbound.close()
    for (const place of this.#options.places) place.close()
    await this.#running
    const patience = new AbortController() // a timer left behind would keep the thread for as long
    const enough = sleep(stop_patience_ms, undefined, patience).catch(() => {})
    await Promise.race([Promise.all(this.#busy.values()), enough])
    patience.abort()
    await this.#session?.end().catch(() => {})
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#woken = new AbortController()
      try {
        await this.#look()
        this.#told = null
      } catch (error) {
        this.#wait(error)
      }
      await sleep(this.#interval_ms, undefined, { signal: this.#woken.signal }).catch(() => {})
    }
  }

  async #look(): Promise<void> {
    if (!(await this.#isOurs())) return
    const head = await this.#log.head()
    if (head === undefined || this.#stopping.signal.aborted) return
    await this.#noteEmptyQuorum(head)
    const cosigned = this.#options.policy === null ? head : await this.#log.cosignedHead()
    for (const target of this.#targets) {
      if (this.#busy.has(target) || !this.#isDue(target)) continue
      const wanted = 'witness' in target ? head : this.#complete(target, head, cosigned)
      if (wanted === undefined || this.#has(target, wanted)) continue
      const work = this.#serve(target, wanted)
        .catch((error: unknown) => this.#wait(error))
        .finally(() => this.#busy.delete(target))
      this.#busy.set(target, work)
    }
  }

  /** Takes the lock if nobody has it, and then what is known of the anchors. */
  async #isOurs(): Promise<boolean> {
    if (this.#session !== null) return true
    if (performance.now() < this.#standby_ms) return false
    const session = await this.#options.session()
    try {
      const { rows } = await session.query<{ got: boolean }>('select pg_try_advisory_lock($1) as got', [advisory_lock])
      if (rows[0]?.got === true) {
        await this.#readStates()
        session.once('end', () => {
          if (this.#session === session) this.#session = null
        })
        this.#session = session
        return true
      }
    } catch (error) {
      await session.end().catch(() => {}) // and with it the lock
      throw error
    }
    await session.end()
    this.#standby_ms = performance.now() + standby_intervals * this.#interval_ms
    return false
  }

  async #readStates(): Promise<void> {
    const named = this.#targets.map((target) => ({ target, ...nameOf(target) }))
    await keepStates(this.#options.pool, named)
    const states = await readStates(this.#options.pool)
    for (const { target, name, kind } of named)
      this.#states.set(
        target,
        states.find((state) => state.name === name && state.kind === kind) ?? untried(name, kind),
      )
  }

  /** A policy that asks for no witness is met by the log's own signature. */
  async #noteEmptyQuorum({ size, quorumAt_ms }: RegistryHead): Promise<void> {
    const { policy } = this.#options
    if (policy !== null && quorumAt_ms === null && meetsQuorum(policy, [])) await this.#log.noteQuorum(size)
  }

  /** Whether it is time to ask it, if there is anything to give it. */
  #isDue(target: Target): boolean {
    const { nextTryAt_ms, succeededAt_ms } = this.#states.get(target)!
    const now_ms = Date.now()
    if (nextTryAt_ms !== null) return nextTryAt_ms <= now_ms
    if ('witness' in target || succeededAt_ms === null) return true
    const turn = (time_ms: number) => Math.floor(time_ms / target.place.every_ms)
    return turn(succeededAt_ms) < turn(now_ms)
  }

  #has(target: Target, head: RegistryHead): boolean {
    const { origin, size, error } = this.#states.get(target)!
    return error === null && origin === head.origin && size !== null && size >= head.size
  }

  /** A copy is worth more with cosignatures, so a place waits for them, but not for long. */
  #complete(target: Target, head: RegistryHead, cosigned: RegistryHead | undefined): RegistryHead | undefined {
    if (cosigned !== undefined && !this.#has(target, cosigned)) {
      this.#waiting.delete(target)
      return cosigned
    }
    const since_ms = this.#waiting.get(target) ?? Date.now()
    this.#waiting.set(target, since_ms)
    if (Date.now() - since_ms < quorum_patience_ms) return undefined
    this.#waiting.delete(target)
    return head
  }

  async #serve(target: Target, head: RegistryHead): Promise<void> {
    const state = this.#states.get(target)!
    const good: AnchorState = {
      ...state,
      origin: head.origin,
      epoch: head.epoch,
      size: head.size,
      error: null,
      isWrong: false,
      failures: 0,
      nextTryAt_ms: null,
    }
    try {
      const keep =
        'witness' in target ? await this.#cosign(target.witness, head, state) : await this.#place(target.place, head)
      const next = { ...good, succeededAt_ms: Date.now() }
      await keep(next)
      this.#states.set(target, next)
      if (state.error !== null) this.#options.log.info({ anchor: state.name }, 'the anchor answers again')
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      // By its class: a place may fail with the very codes of a database that is away.
      if (error instanceof StoreUnavailable) throw error
      await this.#fail(target, state, error as Error)
    }
  }

  async #cosign(witness: AskedWitness, head: RegistryHead, state: AnchorState) {
    const { outbound, pool, policy } = this.#options
    const known = state.origin === head.origin ? (state.size ?? 0) : 0
    const prove = (from: number) => this.#log.consistency(from, head.size)
    const { line, time } = await askWitness(witness, head, known, prove, outbound)
    return async (next: AnchorState) => {
      await this.#log.attach(head, witness.key.name, line, time, policy!)
      await writeState(pool, next)
    }
  }

  async #place(place: Place, head: RegistryHead) {
    const { origin, epoch, size, root, at_ms } = head
    const note = head.note + (await this.#log.cosignatures(size)).join('')
    const document: Document = { origin, epoch, size, root: toBase64(root), at_ms, note }
    const placed = await place.place(document)
    return (next: AnchorState) => writePlaced(this.#options.pool, next, place.isPublic, document, placed)
  }

  async #fail(target: Target, state: AnchorState, error: Error): Promise<void> {
    const { log, pool } = this.#options
    const role = 'witness' in target ? 'witness' : 'place'
    const isWrong = error instanceof WrongAnswer
    const failures = state.failures + 1
    const first_ms = this.#options.retry_ms ?? retry_ms[role]
    const wait_ms = Math.min(first_ms * 2 ** Math.min(failures - 1, 20), longest_retry_ms[role])
    const next: AnchorState = {
      ...state,
      error: (error.message || error.name).slice(0, 500),
      isWrong,
      failures,
      wrongAnswers: state.wrongAnswers + (isWrong ? 1 : 0),
      failedAt_ms: Date.now(),
      nextTryAt_ms: Math.floor(Date.now() + wait_ms * (0.9 + Math.random() / 5)), // many must not come back at once
    }
    this.#states.set(target, next)
    if (next.error !== state.error || failures % told_again === 0)
      log[isWrong ? 'error' : 'warn'](
        { anchor: next.name, kind: next.kind, failures, reason: next.error },
        isWrong ? 'an anchor answers wrongly' : 'an anchor cannot be reached',
      )
    await writeState(pool, next)
  }

  #wait(error: unknown): void {
    const known = storeError(error) as Error
    if (this.#told !== known.message) this.#options.log.warn({ err: known }, 'the anchors wait')
    this.#told = known.message
  }
}

function nameOf(target: Target): Pick<AnchorState, 'name' | 'kind'> {
  if ('place' in target) return target.place
  return { name: target.witness.name, kind: 'witness' }
}

/** A witness without an address is one that others ask: its cosignatures cannot be had here. */
function witnessesOf({ policy, log }: AnchorsOptions): AskedWitness[] {
  return (policy?.witnesses ?? []).flatMap((witness) => {
    const { url } = witness
    if (url !== undefined && /^https?:\/\//.test(url) && URL.canParse(url)) return [{ ...witness, url }]
    log.warn({ witness: witness.name }, 'the policy file has no address of this witness: it is not asked')
    return []
  })
}
