// One epoch, from the heads of all trails to a signed checkpoint of the registry log:
//
//   plan      what changed since the epoch before; the slot tree; the entry for the log
//   object    epochs/<n> is stored, durably, before anything is signed
//   commit    in one transaction: the log grows, its checkpoint is signed, the bodies are kept; by compare-and-set
//
// An object is never replaced. Whoever finds epochs/<n> there (this process was killed before it committed, another was
// faster, or the database is older than its objects) completes exactly that epoch: same entry, same bodies, and since
// Ed25519 signs deterministically, the same checkpoint.
import {
  decodeRegistryEntry,
  type Epoch,
  encodeRegistryEntry,
  formatCheckpoint,
  formatSignature,
  fromBase64,
  leafHash,
  registryOrigin,
  toBase64,
} from '@affidavit/trail'
import { type LogKey, trailName } from '../keys/log-key.ts'
import type { Pool, Queryable } from '../store/database.ts'
import { BrokenEpochObject, type EpochTrail, epochKey, readEpochHead, writeEpochObject } from '../store/epoch-object.ts'
import type { Objects } from '../store/objects.ts'
import { sha256 } from '../store/sha256.ts'
import type { BodyMemory } from './bodies.ts'
import { type EntryRange, packedEntries, readKeyIds } from './entries.ts'
import { type EdgeTile, LogEdge } from './log.ts'
import type { SlotBlinds } from './slots.ts'
import {
  type EpochRows,
  fits,
  type LogEntry,
  moveRegistry,
  type RegistryState,
  readChanges,
  readEdge,
  readOldestUnnotarized,
  readPending,
  readState,
  type SlotChange,
  type StoredBody,
  writeEpoch,
} from './statements.ts'
import { successionOf } from './succession.ts'

/** Where a test may end the process. */
export type Step = 'planned' | 'object' | 'signed' | 'committed'

export interface EpochParts {
  /** Of the role `notary`. */
  readonly pool: Pool
  readonly objects: Objects
  /** The registry secret, and what it blinds. */
  readonly secret: Uint8Array
  readonly blinds: SlotBlinds
  readonly bodies: BodyMemory
  readonly logName: string
  /** Signs, the newest key first. More than one while a successor takes over. */
  readonly logKeys: readonly LogKey[]
  /** Entry that names the newest key, signed by the recovery key, if there is one. */
  readonly announced?: string | null
  readonly onStep?: (step: Step) => void
}

/** A trail that is left as the epoch before has it, because what is stored of it is contradictory. */
export interface BrokenHead {
  readonly trail: string
  readonly reason: string
}

export type EpochOutcome =
  | {
      readonly kind: 'made'
      readonly epoch: number
      readonly changed: number
      readonly depth: number
      readonly broken: readonly BrokenHead[]
    }
  /** Another process was faster. */
  | { readonly kind: 'outrun' }
  /** Not now: an epoch would claim what it does not cover, an object is ahead of this database, or a key is missing. */
  | { readonly kind: 'postponed'; readonly reason: 'notary' | 'clock' | 'behind' | 'keys'; readonly message: string }
  /** No trail has a checkpoint yet. */
  | { readonly kind: 'nothing' }

/** An epoch covers what was sealed two minutes before its time (MERGE_DELAY_MS); this leaves some to spare. */
const covered_ms = 100_000
/** How far the clock may lie behind the newest epoch. */
const clock_behind_ms = 60_000

/** @throws StoreUnavailable, or Error when something stored is not as it was written */
export async function makeEpoch(parts: EpochParts): Promise<EpochOutcome> {
  const state = await readState(parts.pool)
  const key = epochKey(state.epoch + 1)
  if (await parts.objects.stat(key)) return completeEpoch(parts, state, key)
  const origin = state.origin ?? registryOrigin(parts.logName)
  const succession = await successionOf(parts, origin)
  if ('missing' in succession) return { kind: 'postponed', reason: 'keys', message: succession.missing }
  const time = Math.max(state.now, (state.at ?? 0) + 1)
  const postponed = await postponement(parts.pool, state, time)
  if (postponed !== undefined) return postponed
  const { trails, numbers, broken } = await sortOut(parts)
  if (state.size === 0 && trails.length === 0) return { kind: 'nothing' }
  const plan = await planEpoch(parts, { state, origin, time, successors: succession.entries }, trails)
  parts.onStep?.('planned')
  const put = await parts.objects.put(
    key,
    writeEpochObject(parts.secret, {
      header: {
        epoch: plan.epoch,
        origin: plan.origin,
        before: state.size,
        entries: plan.entries,
        trails: plan.trails.length,
      },
      trails: plan.trails,
      entries: packedEntries(parts.pool, rangesOf(plan.trails, numbers)),
      keyIds: (subjects) => readKeyIds(parts.pool, subjects),
    }),
  )
  if (put === 'exists') return completeEpoch(parts, state, key)
  parts.onStep?.('object')
  return commitEpoch(parts, plan, broken)
}

/** Why there is to be no epoch now. */
async function postponement(
  db: Queryable,
  { now, at }: RegistryState,
  time: number,
): Promise<Extract<EpochOutcome, { kind: 'postponed' }> | undefined> {
  if (at !== null && at - now > clock_behind_ms)
    return {
      kind: 'postponed',
      reason: 'clock',
      message: `the database's clock lies ${Math.round((at - now) / 1000)} s behind the newest epoch`,
    }
  const oldest = await readOldestUnnotarized(db)
  if (oldest === null || oldest >= time - covered_ms) return undefined
  return {
    kind: 'postponed',
    reason: 'notary',
    message: `entries sealed ${Math.round((time - oldest) / 1000)} s ago have no checkpoint yet`,
  }
}

interface Sorted {
  readonly trails: EpochTrail[]
  /** Their numbers in the store. */
  readonly numbers: number[]
  readonly broken: BrokenHead[]
}

/** Heads that may go into an epoch: they grew, and the checkpoint is ours. */
async function sortOut(parts: EpochParts): Promise<Sorted> {
  const sorted: Sorted = { trails: [], numbers: [], broken: [] }
  for await (const changes of readChanges(parts.pool)) {
    for (const change of changes) {
      const reason = flaw(parts, change)
      if (reason === undefined) {
        sorted.trails.push(trailOf(change))
        sorted.numbers.push(change.number)
      } else sorted.broken.push({ trail: change.trail, reason })
    }
  }
  return sorted
}

/** What is kept of a change: there may be as many as there are trails. */
const trailOf = ({ number: _number, note: _note, before, size, root, ...rest }: SlotChange): EpochTrail => ({
  ...rest,
  from: before,
  size: size!,
  root: toBase64(root!),
})

function* rangesOf(trails: readonly EpochTrail[], numbers: readonly number[]): Generator<EntryRange> {
  for (const [place, { from, size }] of trails.entries()) yield { place, trail: numbers[place]!, from, to: size }
}

function flaw({ logKeys, logName }: EpochParts, { trail, before, size, root, note }: SlotChange): string | undefined {
  if (size === null || size < before) return `the newest epoch has ${before} entries, its checkpoint ${size ?? 0}`
  const origin = trailName(logName, trail)
  const text = formatCheckpoint(origin, size, root!)
  // Signing again is quicker than verifying, and gives the same bytes.
  const signed = logKeys.some((key) => note!.includes(signatureLine(key, origin, text)))
  return note!.startsWith(`${text}\n`) && signed ? undefined : 'its checkpoint was not signed by this log'
}

const utf8 = new TextEncoder()

function signatureLine(key: LogKey, name: string, text: string): string {
  return formatSignature({ name, id: key.signer(name).id, signature: key.sign(utf8.encode(text)) })
}

interface Plan {
  readonly epoch: number
  readonly origin: string
  readonly before: number
  readonly entries: readonly string[]
  readonly own: Epoch
  readonly crown: Uint8Array
  readonly trails: readonly EpochTrail[]
}

interface Beginning {
  readonly state: RegistryState
  readonly origin: string
  readonly time: number
  /** Entries that announce new log keys. */
  readonly successors: readonly string[]
}

async function planEpoch(
  parts: EpochParts,
  { state, origin, time, successors }: Beginning,
  trails: readonly EpochTrail[],
): Promise<Plan> {
  const epoch = state.epoch + 1
  const { depth } = await readState(parts.pool) // after the changes: it has room for each of them
  const bodies = await parts.bodies.withChanges(state.epoch, trails)
  const { root, crown } = await parts.blinds.tree(epoch, depth, bodies)
  const own: Epoch = { kind: 'epoch', epoch, time: new Date(time).toISOString(), depth, slots: root }
  const pending = await readPending(parts.pool)
  const entries = [...pending, ...successors, encodeRegistryEntry(own)]
  return { epoch, origin, before: state.size, entries, own, crown, trails }
}

/** Completes the epoch that an object names. */
async function completeEpoch(parts: EpochParts, state: RegistryState, key: string): Promise<EpochOutcome> {
  const outcome = await complete(parts, state, key)
  if (outcome.kind !== 'postponed') return outcome
  const { epoch } = await readState(parts.pool)
  return epoch === state.epoch ? outcome : { kind: 'outrun' }
}

async function complete(parts: EpochParts, state: RegistryState, key: string): Promise<EpochOutcome> {
  const behind = (message: string): EpochOutcome => ({ kind: 'postponed', reason: 'behind', message })
  const object = await parts.objects.read(key)
  if (object === undefined) throw new Error(`${key} was there and is gone`)
  const head = await readEpochHead(object, parts.secret).catch((error: unknown) => {
    if (error instanceof BrokenEpochObject) return error
    throw error
  })
  if (head instanceof BrokenEpochObject) return behind(`${key}: ${head.message}`)
  const { header, trails, genuine } = head
  if (!genuine) return behind(`${key} was not written by this deployment`)
  const origin = state.origin ?? header.origin
  if (header.epoch !== state.epoch + 1 || header.before !== state.size || header.origin !== origin)
    return behind(`${key} continues another registry than this database has`)
  const heads = trails.map(({ trail, size, root }) => ({ trail, size, root: Buffer.from(root, 'base64') }))
  if (!(await fits(parts.pool, heads))) return behind(`${key} names heads that this database does not have`)
  const own = decodeRegistryEntry(header.entries.at(-1)!)
  if (own.kind !== 'epoch') throw new Error(`${key} ends in no epoch`)
  const bodies = await parts.bodies.withChanges(state.epoch, trails)
  const { root, crown } = await parts.blinds.tree(header.epoch, own.depth, bodies)
  if (!Buffer.from(root).equals(own.slots)) return behind(`${key} was made of other heads than this database has`)
  const plan: Plan = {
    epoch: header.epoch,
    origin,
    before: header.before,
    entries: header.entries,
    own,
    crown,
    trails,
  }
  return commitEpoch(parts, plan, [])
}

async function commitEpoch(parts: EpochParts, plan: Plan, broken: readonly BrokenHead[]): Promise<EpochOutcome> {
  const moved = await parts.pool.transaction(async (session) => {
    const place = {
      origin: plan.origin,
      epoch: plan.epoch,
      before: plan.before,
      size: plan.before + plan.entries.length,
      time: plan.own.time,
      logKey: parts.logKeys.at(-1)!.publicKey,
    }
    if (!(await moveRegistry(session, place))) return false
    // From here on the registry is ours until the commit, and the log as it was.
    await writeEpoch(session, { ...place, ...grow(parts, plan, await readEdge(session, plan.before)) })
    parts.onStep?.('signed')
    return true
  })
  if (!moved) return { kind: 'outrun' }
  parts.bodies.keep(plan.epoch)
  parts.onStep?.('committed')
  return { kind: 'made', epoch: plan.epoch, changed: plan.trails.length, depth: plan.own.depth, broken }
}

/** What the epoch does to the log, and the checkpoint signed. */
function grow(parts: EpochParts, plan: Plan, tiles: readonly EdgeTile[]): EpochRows {
  const edge = new LogEdge(plan.before, tiles)
  const entries: LogEntry[] = plan.entries.map((text) => {
    const hash = leafHash(sha256, utf8.encode(text))
    edge.append(hash)
    return { index: edge.size - 1, kind: decodeRegistryEntry(text).kind, text, hash }
  })
  const root = edge.root()
  return {
    depth: plan.own.depth,
    slotRoot: plan.own.slots,
    crown: plan.crown,
    entries,
    tiles: edge.changed,
    bodies: bodiesOf(plan.trails),
    root,
    note: signed(parts.logKeys, plan.origin, edge.size, root),
  }
}

function* bodiesOf(trails: readonly EpochTrail[]): Generator<StoredBody> {
  for (const { slot, trail, size, root } of trails) yield { slot, trail, size, root: Buffer.from(fromBase64(root)!) }
}

function signed(keys: readonly LogKey[], origin: string, size: number, root: Uint8Array): string {
  const text = formatCheckpoint(origin, size, root)
  return `${text}\n${keys.map((key) => signatureLine(key, origin, text)).join('')}`
}
