// A database that is older than its epoch objects is brought up to the newest of them before it seals anything: entries
// come back without their payloads, at the same places and with the same leaf hashes, so that every checkpoint that an
// epoch vouched for is true again. In steps:
//
//   begun (row in recoveries) ─► epoch after epoch: tenants, subjects, entries ─► forgetting replayed ─► finished
//
// Killed anywhere, the next start goes on: entries that are there already are compared instead of inserted. What
// contradicts an object is never overwritten: the start is refused.
import { CompactRange, type Entry, encodeEntry, leafHash, NO_PREVIOUS, toBase64 } from '@affidavit/trail'
import type { KeyChest } from '../keys/tenant-keys.ts'
import type { Pool } from '../store/database.ts'
import { type EpochReading, type EpochRun, type EpochTrail, epochKey, readEpochObject } from '../store/epoch-object.ts'
import type { Log } from '../store/log.ts'
import type { Objects } from '../store/objects.ts'
import { sha256 } from '../store/sha256.ts'
import { RecoveryRefused } from './repository.ts'
import {
  beginRecovery,
  endRecovery,
  insertEntries,
  noteEpoch,
  openTrail,
  type ReplayedTrail,
  readBehind,
  readLeaf,
} from './statements.ts'

/** Where a test may end the process. */
export type ReplayStep = 'begun' | 'entries' | 'epoch' | 'forgotten' | 'finished'

export interface ReplayParts {
  /** Pool of the role `keeper`. */
  readonly keeper: Pool
  readonly objects: Objects
  /** The registry secret; undefined: there is none, and so no epoch of ours. */
  readonly secret: Uint8Array | undefined
  readonly chest: KeyChest
  /** Does again what the control entries say (erase/replay.ts). */
  readonly forget: () => Promise<unknown>
  readonly log: Log
  readonly onStep?: (step: ReplayStep) => void
}

export interface Outcome {
  /** Entries of the registry log, those included that the registry completes from Objects. */
  readonly reachable: number
  /** Undefined when there was nothing to put back. */
  readonly replayed: Replayed | undefined
}

export interface Replayed {
  /** Newest epoch of the database before, and after. */
  readonly from: number
  readonly to: number
  readonly entries: number
}

const refuse = (message: string) => new RecoveryRefused(message)

/** @throws RecoveryRefused, StoreUnavailable */
export async function replayEpochs(parts: ReplayParts): Promise<Outcome> {
  const { keeper, objects, log } = parts
  const { epoch: from, size, unfinished } = await readBehind(keeper)
  const later = await laterEpochs(objects, from)
  if (size > 0 && (await objects.stat(epochKey(from))) === undefined)
    log.error({ epoch: from }, 'Objects do not have the newest epoch: were they this database would be lost, too')
  if (later.length > 0 && parts.secret === undefined)
    throw refuse(
      'There are epoch objects, but no registry.key in the key folder. Restore the key folder from its backup.',
    )
  const replay = new Replay(parts, from, unfinished)
  let reachable = size
  for (const epoch of later) reachable = await replay.epoch(epoch)
  return { reachable, replayed: await replay.end() }
}

/** Epochs after `epoch` in order. @throws RecoveryRefused when one is missing */
async function laterEpochs(objects: Objects, epoch: number): Promise<number[]> {
  const later: number[] = []
  for await (const { key } of objects.list('epochs/', epochKey(epoch))) {
    const found = Number(key.slice('epochs/'.length))
    if (found !== epoch + later.length + 1)
      throw refuse(
        `Objects have epoch ${found} and not epoch ${epoch + later.length + 1}: a copy of Objects is incomplete. ` +
          'Put the missing object back, or continue the trails (docs/operating/recovery.md).',
      )
    later.push(found)
  }
  return later
}

async function open({ objects, secret }: ReplayParts, epoch: number): Promise<EpochReading> {
  const stream = await objects.read(epochKey(epoch))
  if (stream === undefined) throw refuse(`The object of epoch ${epoch} went away while it was read.`)
  const reading = await readEpochObject(stream, secret!)
  if (!reading.genuine)
    throw refuse(`The object of epoch ${epoch} was not written with this deployment's registry.key.`)
  return reading
}

class Replay {
  readonly #parts: ReplayParts
  readonly #from: number
  #recovery: number | null
  #to: number
  #entries = 0
  /** Leaf hashes of each trail so far. */
  readonly #ranges = new Map<string, CompactRange>()

  /** @param recovery one that was cut off, or null */
  constructor(parts: ReplayParts, from: number, recovery: number | null) {
    this.#parts = parts
    this.#from = from
    this.#to = from
    this.#recovery = recovery
  }

  /**
   * An object may also be ahead of a log that lost nothing: killed before it signed, the registry completes it.
   * @returns entries of the registry log with this epoch
   */
  async epoch(epoch: number): Promise<number> {
    const { keeper, onStep } = this.#parts
    const reading = await open(this.#parts, epoch)
    const trails = new Map<string, TrailReplay>()
    for (const trail of reading.trails) trails.set(trail.trail, await this.#begin(epoch, trail))
    for await (const run of reading.runs()) {
      const missing = trails.get(run.trail.trail)!.take(run)
      if (missing.length === 0) continue
      await trails.get(run.trail.trail)!.insert(missing)
      this.#entries += missing.length
      onStep?.('entries')
    }
    for (const replay of trails.values()) await replay.finish()
    this.#to = epoch
    if (this.#recovery !== null) {
      await noteEpoch(keeper, this.#recovery, epoch, this.#entries)
      onStep?.('epoch')
    }
    return reading.header.before + reading.header.entries.length
  }

  async end(): Promise<Replayed | undefined> {
    if (this.#recovery === null) return undefined
    const { keeper, forget, onStep } = this.#parts
    await forget()
    onStep?.('forgotten')
    await endRecovery(keeper, this.#recovery)
    onStep?.('finished')
    return { from: this.#from, to: this.#to, entries: this.#entries }
  }

  async #begin(epoch: number, trail: EpochTrail): Promise<TrailReplay> {
    const { keeper } = this.#parts
    let known = await openTrail(keeper, trail.trail)
    if (known === undefined || known.size < trail.size) {
      await this.#note(epoch)
      known ??= await makeTrail(this.#parts, trail)
      // A change of the policy is an entry, so a trail that has all entries has the policy, too.
      await keeper.query('select affidavit.update_tenant($1, $2, $3)', [
        trail.tenant,
        trail.name,
        JSON.stringify(trail.policy),
      ])
    }
    if (known.tenantId !== trail.tenant)
      throw refuse(
        `Trail ${trail.trail} is ${known.tenantId}'s in the database and ${trail.tenant}'s in epoch ${epoch}.`,
      )
    const range = this.#ranges.get(trail.trail) ?? CompactRange.fromBytes(sha256, known.notarized, known.range)
    this.#ranges.set(trail.trail, range)
    return TrailReplay.begin(keeper, known, trail, range)
  }

  /** Before the first change: a start that is killed later must know that it is not through. */
  async #note(epoch: number): Promise<void> {
    if (this.#recovery !== null) return
    this.#recovery = await beginRecovery(this.#parts.keeper, this.#from)
    this.#parts.log.warn(
      { from: this.#from, epoch },
      'the database is older than its epoch objects: later epochs are replayed before anything is sealed',
    )
    this.#parts.onStep?.('begun')
  }
}

/** A tenant or trail that is younger than the database gets new keys: what the old ones opened is gone. */
async function makeTrail({ keeper, chest }: ReplayParts, trail: EpochTrail): Promise<ReplayedTrail> {
  try {
    if (trail.ordinal > 0)
      await keeper.query(
        'select affidavit.continue_trail((select number from affidavit.tenants where id = $1), $2, $3::smallint)',
        [trail.tenant, trail.trail, trail.shard],
      )
    else {
      const { data, index } = await chest.make(trail.trail)
      await keeper.query('select affidavit.create_tenant($1, $2, $3, $4, $5::smallint, $6, $7)', [
        trail.tenant,
        trail.name,
        trail.operator,
        trail.trail,
        trail.shard,
        data,
        index,
      ])
    }
  } catch (error) {
    if (!['AF011', 'AF012', '23502'].includes((error as { code?: string }).code ?? '')) throw error
    throw refuse(
      `Trail ${trail.trail} of ${trail.tenant} cannot be put back: its slot is another tenant's in this database. ` +
        'The database was used after it was restored; continue the trails instead (docs/operating/recovery.md).',
    )
  }
  const made = await openTrail(keeper, trail.trail)
  if (made !== undefined) return made
  throw refuse(
    `${trail.tenant} has another trail in this database than in its epoch objects: the database was used after it was ` +
      'restored. Continue the trails instead (docs/operating/recovery.md).',
  )
}

const contradiction = ({ trail, tenant }: EpochTrail, seq: number) =>
  refuse(
    `Trail ${trail} of ${tenant} contradicts its epoch objects near entry ${seq}: the database was used after it was ` +
      'restored, or changed. Nothing is overwritten. Continue the trails instead (docs/operating/recovery.md).',
  )

interface MissingEntry {
  readonly entry: Entry
  readonly hash: Buffer
}

/** One trail in one epoch. */
class TrailReplay {
  readonly #keeper: Pool
  readonly #known: ReplayedTrail
  readonly #trail: EpochTrail
  readonly #range: CompactRange
  #previous: string
  #size: number

  private constructor(keeper: Pool, known: ReplayedTrail, trail: EpochTrail, range: CompactRange, previous: string) {
    this.#keeper = keeper
    this.#known = known
    this.#trail = trail
    this.#range = range
    this.#previous = previous
    this.#size = known.size
  }

  static async begin(keeper: Pool, known: ReplayedTrail, trail: EpochTrail, range: CompactRange): Promise<TrailReplay> {
    const previous = trail.from === 0 ? undefined : await readLeaf(keeper, known.number, trail.from - 1)
    if (trail.from > 0 && previous === undefined) throw contradiction(trail, trail.from - 1)
    return new TrailReplay(keeper, known, trail, range, previous?.toString('base64') ?? NO_PREVIOUS)
  }

  /** @returns what is not in the database */
  take({ entries }: EpochRun): MissingEntry[] {
    const missing: MissingEntry[] = []
    for (const { subjects: _, ...rest } of entries) {
      const entry: Entry = { ...rest, trail: this.#trail.trail, previous: this.#previous }
      const hash = Buffer.from(leafHash(sha256, Buffer.from(encodeEntry(entry), 'latin1')))
      this.#previous = hash.toString('base64')
      if (entry.seq >= this.#range.size) this.#range.append(hash)
      if (entry.seq >= this.#size) missing.push({ entry, hash })
      // Every hash holds the one before, so the last one that is there speaks for all.
      else if (entry.seq === this.#known.size - 1 && !this.#known.hash?.equals(hash))
        throw contradiction(this.#trail, entry.seq)
    }
    return missing
  }

  async insert(missing: readonly MissingEntry[]): Promise<void> {
    if (missing[0]!.entry.seq !== this.#size) throw contradiction(this.#trail, this.#size)
    await insertEntries(this.#keeper, this.#known, this.#size, missing)
    this.#size += missing.length
  }

  /** What the object says and what the database holds now are the same trail. */
  async finish(): Promise<void> {
    const { size, root } = this.#trail
    const last = await readLeaf(this.#keeper, this.#known.number, size - 1)
    if (last?.toString('base64') !== this.#previous) throw contradiction(this.#trail, size - 1)
    if (this.#range.size === size && toBase64(this.#range.root()) !== root) throw contradiction(this.#trail, size)
  }
}
