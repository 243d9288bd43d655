// The scrub: reads everything that is stored, round after round, at a bounded rate, and recomputes what can be
// recomputed. A mismatch stops the trail concerned (findings.ts) and nothing else; the walk goes on with what is stored,
// so that one change is one finding. One scrub works at a time, whichever server it runs in.
import { setTimeout as sleep } from 'node:timers/promises'
import { Absence, type Announcement, CompactRange, type Control, decodeControl, Findings } from '@affidavit/trail'
import { type Personas, persona_freshness_ms } from '../keys/personas.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Pool } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import { sha256 } from '../store/sha256.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { judgePage, type TrailState } from './judge.ts'
import { type Mismatch, mismatch } from './mismatch.ts'
import { readPage } from './page.ts'
import {
  beginRound,
  endRound,
  keepFindings,
  keepPlace,
  nextTrail,
  type Place,
  readControls,
  readFirstTiles,
  readPlace,
} from './progress.ts'

export interface ScrubParts {
  /** Pool of the role `scrub`. */
  readonly pool: Pool
  readonly personas: Personas
  readonly tenants: Tenants<TenantKeys>
  readonly log: Log
  readonly now?: () => number
  /** How long before what seems wrong is looked at again; default: until nothing in memory is older. */
  readonly recheck_ms?: number
}

export interface Found extends Mismatch {
  readonly trail: number
  /** 32 hex digits. */
  readonly trailId: string
  readonly tenant: string
}

export interface ScrubOptions {
  /** Events per second; Infinity: as fast as it goes. */
  readonly rate: number
  /** Least rest after each page, as a multiple of what it took; default 0. 4: at most a fifth of a core. */
  readonly restFactor?: number
  readonly signal: AbortSignal
  /** After each page. */
  readonly onProgress?: (progress: { checked: number; total: number }) => void
  /** For what was not found before. */
  readonly onFound: (found: Found) => void
}

const page_rows = 256
/** Findings of one trail in one round; more say nothing new. */
const most_findings = 500
/** Personas whose tokens were compared, per trail; more are compared again. */
const known_personas = 50_000

/** One whole round, from where the last one was left. @returns entries read */
export async function scrubRound(parts: ScrubParts, options: ScrubOptions): Promise<number> {
  const { pool } = parts
  let place = await readPlace(pool)
  if (place.startedAt === null) {
    await beginRound(pool)
    place = await readPlace(pool)
  }
  let checked = 0
  for (;;) {
    if (options.signal.aborted) return checked
    const next = await nextTrail(pool, place.trail)
    if (next === undefined) break
    checked += await new TrailScrub(parts, options, next, place).run()
    if (options.signal.aborted) return checked
    place = await readPlace(pool)
  }
  await endRound(pool)
  return checked
}

class TrailScrub {
  readonly #parts: ScrubParts
  readonly #options: ScrubOptions
  readonly #trail: number
  readonly #tenant: number
  readonly #place: Place
  readonly #known = new Set<number>()
  #found = 0
  #trailId = ''

  constructor(parts: ScrubParts, options: ScrubOptions, next: { trail: number; tenant: number }, place: Place) {
    this.#parts = parts
    this.#options = options
    this.#trail = next.trail
    this.#tenant = next.tenant
    this.#place = place
  }

  async run(): Promise<number> {
    const { tenants, pool } = this.#parts
    let began = performance.now()
    const tenant = (await tenants.byNumber([this.#tenant])).get(this.#tenant)
    // Of a tenant that was deleted nothing is kept that could be wrong.
    if (tenant === undefined || tenant.state === 'closed') {
      await keepPlace(pool, { ...this.#after(), checked: 0 })
      return 0
    }
    const announcements = await this.#announcements(tenant)
    let state = await this.#begin(announcements)
    let absence = new Absence(announcements, new Findings())
    let checked = 0
    let kept = 0
    while (!this.#options.signal.aborted) {
      if (this.#known.size > known_personas) this.#known.clear()
      const before = { ...state, range: state.range.clone(), leaves: [...state.leaves] }
      const first = await this.#judge(tenant, state, absence)
      if (first === undefined) break
      let { rows, size, wrong } = first
      if (wrong.length > 0) {
        // Something may have been forgotten, or opened from memory, since the announcements were read: a second look, at
        // newer ones, once nothing in memory is older than the page.
        await this.#rest(this.#parts.recheck_ms ?? persona_freshness_ms + 1_000)
        began = performance.now()
        this.#known.clear()
        absence = new Absence(await this.#announcements(tenant), new Findings())
        state = before
        const second = await this.#judge(tenant, state, absence)
        if (second === undefined) break
        ;({ rows, size, wrong } = second)
        await this.#report(tenant, this.#trailId, wrong)
      }
      checked += rows
      const done = state.range.size >= size || rows === 0
      // Within a tile there is no place to go on from: its leaves would be missing.
      if (done || state.leaves.length === 0) {
        await keepPlace(pool, { ...(done ? this.#after() : this.#within(state)), checked: checked - kept })
        kept = checked
      }
      this.#options.onProgress?.({ checked: this.#place.checked + checked, total: this.#place.total })
      await this.#restAfter(rows, performance.now() - began)
      if (done) break
      began = performance.now()
    }
    return checked
  }

  /** @returns rows of the page, entries under the checkpoint, and what is wrong; undefined when the trail is gone */
  async #judge(
    tenant: Tenant<TenantKeys>,
    state: TrailState,
    absence: Absence,
  ): Promise<{ rows: number; size: number; wrong: Mismatch[] } | undefined> {
    const page = await readPage(this.#parts, tenant, this.#trail, state.range.size, page_rows)
    if (page === undefined) return undefined
    this.#trailId = page.trail.id
    const now = (this.#parts.now ?? Date.now)()
    const wrong = judgePage(page, state, { tenant, absence, known: this.#known, now })
    return { rows: page.rows.length, size: page.trail.size, wrong }
  }

  #within({ range, previous }: TrailState) {
    return { trail: this.#trail - 1, range, previous }
  }

  #after() {
    return { trail: this.#trail, range: new CompactRange(sha256), previous: null }
  }

  /** A round that was cut off goes on within the trail, if it is still the one that it was in. */
  async #begin(announcements: readonly Announcement[]): Promise<TrailState> {
    const { range, previous, trail } = this.#place
    if (trail === this.#trail - 1 && range.size > 0) return { range: range.clone(), leaves: [], previous, position: 0 }
    const minimum = announcements.reduce((size, { control }) => (control.kind === 'truncate' ? control.size : size), 0)
    const start = new CompactRange(sha256)
    const tiles = minimum === 0 ? [] : await readFirstTiles(this.#parts.pool, this.#trail, minimum)
    for (const tile of tiles)
      for (let at = 0; at < tile.length; at += 32) start.append(Buffer.from(tile.subarray(at, at + 32)))
    return { range: start, leaves: [], previous: tiles.at(-1)?.subarray(-32) ?? null, position: 0 }
  }

  async #announcements(tenant: Tenant<TenantKeys>): Promise<Announcement[]> {
    const announcements: Announcement[] = []
    for (const { seq, sealedAt, control } of await readControls(this.#parts.pool, this.#trail)) {
      const decoded = decode(control)
      if (decoded === undefined) {
        const message = `the control line of entry ${seq} cannot be read`
        await this.#report(tenant, tenant.trail.id, [mismatch(seq, 'control', message, control)])
      } else announcements.push({ seq, sealedAt, control: decoded })
    }
    return announcements
  }

  async #report(tenant: Tenant<TenantKeys>, trailId: string, wrong: readonly Mismatch[]): Promise<void> {
    const told = wrong.slice(0, Math.max(0, most_findings - this.#found))
    this.#found += told.length
    for (const found of await keepFindings(this.#parts.pool, this.#trail, told)) {
      const { seq, what, message } = found
      this.#parts.log.error(
        { tenant: tenant.id, trail: trailId, seq, what },
        `trail stopped: ${message}. Somebody changed the database; see "affidavit scrub --list".`,
      )
      this.#options.onFound({ ...found, trail: this.#trail, trailId, tenant: tenant.id })
    }
  }

  /** A trail costs a dozen queries however short it is: by the rate alone very many short ones would take a whole core. */
  #restAfter(rows: number, took_ms: number): Promise<void> {
    const { rate, restFactor = 0 } = this.#options
    return this.#rest(Math.max((rows / rate) * 1000 - took_ms, took_ms * restFactor))
  }

  async #rest(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#options.signal }).catch(() => {})
  }
}

function decode(control: string): Control | undefined {
  try {
    return decodeControl(control)
  } catch {
    return undefined
  }
}
