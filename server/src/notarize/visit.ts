// One visit to one shard: what was sealed since the cursor becomes tiles, compact ranges and signed checkpoints, and the
// cursor moves, in one transaction. Killed at any point it either happened or is repeated from the same cursor, and the
// same leaves give the same tiles.
import { formatCheckpoint } from '@affidavit/trail'
import { type LogKey, signatureLines, trailName } from '../keys/log-key.ts'
import type { Pool, Queryable } from '../store/database.ts'
import { type Extended, extend, leadingLeaves } from './extend.ts'
import type { ShardMemory } from './memory.ts'
import {
  type KnownTrail,
  type LeafRange,
  lockCursor,
  moveCursor,
  type Place,
  type Run,
  readLeaves,
  readRuns,
  readTrails,
  type SignedTrail,
  writeDays,
  writeNotarized,
  writeTiles,
} from './statements.ts'

export interface Signing {
  readonly logKey: LogKey
  readonly logName: string
}

/** A broken invariant of the stored log: somebody changed what only the sealer and the notary write. */
export interface Broken {
  readonly trail: number
  readonly reason: string
}

export interface Visit {
  /** Positions the cursor moved by. */
  readonly events: number
  readonly trails: number
  /** Sealed events are left: the batch was full. */
  readonly behind: boolean
  /** Trails that were left as they are; their events of this batch are not notarized. */
  readonly broken: readonly Broken[]
  /** Positions of the batch at which no event was found, or more than one. */
  readonly missing: number
}

const nothing: Visit = { events: 0, trails: 0, behind: false, broken: [], missing: 0 }

/**
 * @param memory of this shard; filled after the commit, cleared by a failure
 * @param batch most positions that one transaction visits
 */
export async function visitShard(
  pool: Pool,
  signing: Signing,
  shard: number,
  memory: ShardMemory,
  batch: number,
): Promise<Visit> {
  const tampered = new Map<number, Broken>()
  for (;;) {
    try {
      const done = await pool.transaction((session) => visit(session, signing, shard, memory, batch, tampered))
      if (done === null) return nothing
      memory.keep(done.position, done.trails)
      return done.visit
    } catch (error) {
      memory.clear()
      if (!(error instanceof TamperedTiles)) throw error
      // Rolled back: the next attempt leaves these trails out, so this ends.
      for (const trail of error.trails) tampered.set(trail, { trail, reason: 'a tile is not as it was written' })
    }
  }
}

class TamperedTiles extends Error {
  readonly trails: readonly number[]

  constructor(trails: readonly number[]) {
    super(`tiles of trails ${trails.join(', ')} are not as they were written`)
    this.trails = trails
  }
}

interface Done {
  readonly visit: Visit
  /** Where the cursor stands now. */
  readonly position: number
  readonly trails: KnownTrail[]
}

/** @returns null if another notary is at this shard right now */
async function visit(
  session: Queryable,
  signing: Signing,
  shard: number,
  memory: ShardMemory,
  batch: number,
  tampered: ReadonlyMap<number, Broken>,
): Promise<Done | null> {
  const place = await lockCursor(session, shard)
  if (place === undefined) return null
  memory.expect(place.position)
  const until = Math.min(place.sealed, place.position + batch)
  const runs = await readBatch(session, place, until)
  const found = runs.reduce((sum, run) => sum + run.events, 0)
  const { signed, kept, broken } = await notarize(session, signing, runs, memory, tampered)
  const bad = await writeTiles(session, signed)
  if (bad.length > 0) throw new TamperedTiles(bad)
  const stored = await writeNotarized(session, signed)
  await writeDays(session, kept)
  const moved = await moveCursor(session, shard, place.position, until, nextDay(place, until, runs))
  // Both are held by the cursor's lock; a difference means that somebody wrote past it, and this attempt is void.
  if (!moved || stored !== signed.length) throw new Error(`shard ${shard} was notarized by somebody else meanwhile`)
  const events = until - place.position
  return {
    visit: {
      events,
      trails: signed.length,
      behind: until < place.sealed,
      broken,
      missing: Math.abs(events - found),
    },
    position: until,
    trails: signed.map(({ trail, id, extended: { size, range, tail } }) => ({ number: trail, id, size, range, tail })),
  }
}

/** Positions below `sealed` are committed, so all of them are there, unless somebody deleted events. */
async function readBatch(session: Queryable, place: Place, until: number): Promise<Run[]> {
  const { shard, position, day, sealedDay } = place
  if (until === position) return []
  const runs = await readRuns(session, shard, position, until, { from: day, to: sealedDay })
  const found = runs.reduce((sum, run) => sum + run.events, 0)
  if (found === until - position) return runs
  // The days are a hint for the planner. Before events are reported as gone, all days are searched.
  return readRuns(session, shard, position, until, { from: '-infinity', to: 'infinity' })
}

/** Events of later positions were sealed on the last day seen or after it. */
function nextDay(place: Place, until: number, runs: readonly Run[]): string {
  const days = [place.day, ...runs.map((run) => run.day)]
  if (until === place.sealed) days.push(place.settledDay)
  return days.sort().at(-1)!
}

interface Notarization {
  readonly signed: SignedTrail[]
  /** Runs of the signed trails. */
  readonly kept: Run[]
  readonly broken: Broken[]
}

async function notarize(
  session: Queryable,
  signing: Signing,
  runs: readonly Run[],
  memory: ShardMemory,
  tampered: ReadonlyMap<number, Broken>,
): Promise<Notarization> {
  const byTrail = Map.groupBy(runs, (run) => run.trail)
  const read = await readTrails(
    session,
    [...byTrail.keys()].filter((number) => memory.get(number) === undefined),
  )
  const result: Notarization = { signed: [], kept: [], broken: [] }
  const sound: { trail: KnownTrail; runs: Run[]; leading: LeafRange | null }[] = []
  for (const [number, own] of byTrail) {
    const trail = memory.get(number) ?? read.get(number)
    const broken = tampered.get(number) ?? mismatch(number, trail, own)
    if (broken !== null) result.broken.push(broken)
    else {
      const leading = leadingLeaves(
        trail!,
        own.reduce((sum, run) => sum + run.events, 0),
      )
      sound.push({ trail: trail!, runs: own, leading: leading && { trail: number, ...leading } })
    }
  }
  const leaves = await readLeaves(
    session,
    sound.flatMap(({ leading }) => leading ?? []),
  )
  for (const { trail, runs: own, leading } of sound) {
    const outcome = extendTrail(trail, own, leading === null ? null : leaves.get(trail.number))
    if ('reason' in outcome) result.broken.push(outcome)
    else {
      result.signed.push({
        trail: trail.number,
        id: trail.id,
        extended: outcome,
        note: sign(signing, trail, outcome),
      })
      result.kept.push(...own)
    }
  }
  return result
}

/** Why these runs do not continue the trail; null: they do. */
function mismatch(number: number, trail: KnownTrail | undefined, runs: readonly Run[]): Broken | null {
  const broken = (reason: string) => ({ trail: number, reason })
  if (trail === undefined) return broken('the trail is not known')
  let next = trail.size
  for (const { firstSeq, lastSeq, events, whole } of runs) {
    if (firstSeq !== next) return broken(`entry ${next} is expected and entry ${firstSeq} comes`)
    if (lastSeq - firstSeq + 1 !== events) return broken(`entries between ${firstSeq} and ${lastSeq} are missing`)
    if (!whole) return broken(`a leaf hash between ${firstSeq} and ${lastSeq} has not 32 bytes`)
    next = lastSeq + 1
  }
  return null
}

function extendTrail(trail: KnownTrail, runs: readonly Run[], leading: Buffer | null | undefined): Extended | Broken {
  if (leading === undefined)
    return { trail: trail.number, reason: `leaf hashes before entry ${trail.size}, notarized already, are missing` }
  const leaves = runs.length === 1 ? runs[0]!.hashes : Buffer.concat(runs.map((run) => run.hashes))
  try {
    return extend(trail, leaves, leading)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return { trail: trail.number, reason: `the stored compact range does not fit its size ${trail.size}` }
  }
}

/** C2SP signed note over the C2SP checkpoint; origin and key name are both `<log name>/<trail id>`. */
function sign({ logKey, logName }: Signing, trail: KnownTrail, { size, root }: Extended): string {
  const origin = trailName(logName, trail.id)
  const text = formatCheckpoint(origin, size, root)
  return `${text}\n${signatureLines(logKey, origin, text)}`
}
