/**
 * Timestamps that a running server shows (docs/spec/anchors.md): an authority outside vouches that a checkpoint of the
 * registry existed at a time, the registry has grown from that checkpoint, and an epoch under it binds the trail's first
 * entries. Worth something only under certificates that the verifier brings.
 */
import {
  type Anchor,
  type Checkpoint,
  CompactRange,
  concatBytes,
  decodeBundle,
  decodeRegistryEntry,
  EntryError,
  equalBytes,
  leafHash,
  NoteError,
  nodesOf,
  OPEN_FLAWS,
  type OpenTimestamp,
  parseCheckpoint,
  parseNote,
  TILE_WIDTH,
  TIMESTAMP_SKEW_MS,
  type TimestampOptions,
  tileWidth,
  unstamped,
  type VerdictState,
  verifyConsistency,
  verifyTimestamp,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { type Remote, ServerRefused } from '../../remote.ts'
import type { Kept } from '../brought/kept.ts'
import { nodeSha256 } from '../node-hash.ts'
import { failed, type RegistryFinding } from '../registry/finding.ts'
import { NotServed, type RegistryLog } from '../registry/log.ts'
import type { Registry, SlotHead } from '../registry/registry.ts'
import { readSlot } from '../registry/slot-shown.ts'
import { nodeOf, type RegistryEpoch, registryConsistency } from '../registry/walk.ts'
import { NOTE_LIMIT } from '../server/log.ts'

export interface TimestampParts {
  readonly remote: Remote
  readonly log: RegistryLog
  readonly tenant: string
  readonly logName: string
  /** As it was followed: what is stamped must be its past. */
  readonly registry: Registry
  readonly options: TimestampOptions
}

/** Somebody outside who vouches for the first entries of a trail. */
interface Stamped {
  readonly anchor: Extract<Anchor, { kind: 'timestamp' }>
  readonly head: SlotHead
  readonly origin: string
}

export interface LiveTimestamps {
  /** With the heads that are stamped, and with what is wrong; undefined where none can be read. */
  readonly registry?: Registry
  readonly stamped: readonly Stamped[]
  readonly open: readonly OpenTimestamp[]
  /** Stamped checkpoints that are not the registry's past: evidence, if the log signed them. */
  readonly contradicting: readonly Kept[]
}

/** Those of one authority stand between those of another: so many pages of a hundred are looked through. */
const MOST_PAGES = 5
const PAGE_LIMIT = 1_000_000
/** The newest timestamp of each of so many authorities. */
const MOST_AUTHORITIES = 8
const TOKEN_LIMIT = 128 * 1024
const ID = /^[1-9][0-9]{0,14}$/

/**
 * Never throws for what the server shows, nor where it cannot be asked any more: then the timestamps stay open.
 * @param registry as it was followed, if it could be: what its absence means is told by who looked for it
 */
export async function checkLiveTimestamps(
  parts: Omit<TimestampParts, 'registry'>,
  registry: Registry | RegistryFinding | undefined,
): Promise<LiveTimestamps> {
  if (registry !== undefined && 'heads' in registry) return checkStamps({ ...parts, registry })
  const message = 'timestamps are over the registry, which cannot be read here'
  return { stamped: [], open: [{ code: 'no_registry', message }], contradicting: [] }
}

async function checkStamps(parts: TimestampParts): Promise<LiveTimestamps> {
  const open: OpenTimestamp[] = []
  const findings: RegistryFinding[] = []
  const stamped: Stamped[] = []
  const contradicting: Kept[] = []
  try {
    const ids = await newestStamped(parts)
    if (ids.length === 0) open.push({ code: 'no_timestamp', message: 'the server shows no timestamp of its registry' })
    for (const id of ids) {
      const result = await new StampCheck(parts, id).run()
      if ('anchor' in result) stamped.push(result)
      else if ('verdict' in result) findings.push(result)
      else if ('note' in result) {
        contradicting.push(result)
        findings.push(failed('registry_forked', `${result.label} is of another registry than the one shown here`))
      } else open.push(result)
    }
  } catch (error) {
    if (error instanceof NotServed) findings.push(failed('registry_not_served', error.message))
    else if (error instanceof Failure || error instanceof ServerRefused)
      open.push({ code: 'timestamps_unreadable', message: `timestamps cannot be read: ${error.message}` })
    else throw error
  }
  const { heads, findings: before } = parts.registry
  const epochs = new Set(stamped.map(({ head }) => head.epoch))
  const others = heads.filter(({ epoch, body }) => !epochs.has(epoch) || !('origin' in body))
  const all = [...others, ...stamped.map(({ head }) => head)].sort((a, b) => a.epoch - b.epoch)
  const registry = { ...parts.registry, heads: all, findings: [...before, ...findings] }
  return { registry, stamped, open, contradicting }
}

/** What everybody outside who was asked says of one trail. */
export interface Outside {
  /** Undefined: nobody was asked. */
  readonly state: VerdictState | undefined
  readonly anchors: readonly Anchor[]
  /** Why there is no timestamp among them; empty where there is one, or none was asked for. */
  readonly open: readonly OpenTimestamp[]
  readonly notes: readonly string[]
}

/**
 * @param witnesses what the registry with its witnesses says @param shown the trail's checkpoint
 * @param registry what its checks came to
 */
export function outsideOf(
  witnesses: VerdictState | undefined,
  timestamps: Pick<LiveTimestamps, 'stamped' | 'open'> | undefined,
  shown: Pick<Checkpoint, 'origin' | 'size'>,
  registry: VerdictState | undefined,
): Outside {
  if (timestamps === undefined) return { state: witnesses, anchors: [], open: [], notes: [] }
  const own = registry === 'held' ? timestamps.stamped.filter(({ origin }) => origin === shown.origin) : []
  const anchors = own.map(({ anchor }) => anchor)
  const stamps = registry === 'failed' ? 'failed' : own.length > 0 ? 'held' : 'unchecked'
  const states = [stamps, ...(witnesses === undefined ? [] : [witnesses])]
  const state = (['failed', 'unchecked', 'held'] as const).find((one) => states.includes(one))
  if (own.length > 0) {
    const notes = [...unstamped(anchors, shown.size), ...timestamps.open.map(({ message }) => message)]
    return { state, anchors, open: [], notes }
  }
  const open = timestamps.open.length > 0 ? timestamps.open : [unbound('no timestamp that holds binds this trail')]
  return { state, anchors, open, notes: [] }
}

const unbound = (message: string): OpenTimestamp => ({ code: 'timestamp_unbound', message })

/** Ids of the newest timestamped copy of each authority, of the registry as it is shown or its past. */
async function newestStamped({ remote, registry }: TimestampParts): Promise<string[]> {
  const ids = new Map<string, string>()
  let after = ''
  for (let page = 0; page < MOST_PAGES && ids.size < MOST_AUTHORITIES; page++) {
    const { data, next } = pageOf(
      await remote.json(`/v1/registry/anchors?kind=timestamp&limit=100${after}`, { limit: PAGE_LIMIT }),
    )
    for (const { id, anchor, token, origin, size } of data) {
      if (typeof id !== 'string' || !ID.test(id) || typeof anchor !== 'string' || typeof token !== 'string') continue
      // A checkpoint that awaits its witnesses may be stamped before it is served.
      if (origin !== registry.origin || typeof size !== 'number' || size > registry.size) continue
      if (!ids.has(anchor) && ids.size < MOST_AUTHORITIES) ids.set(anchor, id)
    }
    if (typeof next !== 'string' || !ID.test(next)) break
    after = `&after=${next}`
  }
  return [...ids.values()]
}

function pageOf(answer: unknown): { data: Record<string, unknown>[]; next: unknown } {
  const { data, next } = (answer ?? {}) as { data?: unknown; next?: unknown }
  const isCopy = (one: unknown): one is Record<string, unknown> => typeof one === 'object' && one !== null
  return { data: Array.isArray(data) ? data.filter(isCopy) : [], next }
}

class StampCheck {
  private readonly parts: TimestampParts
  private readonly id: string

  constructor(parts: TimestampParts, id: string) {
    this.parts = parts
    this.id = id
  }

  /** @returns who vouches for what, or what is wrong, or another registry that was stamped, or why it says nothing */
  async run(): Promise<Stamped | RegistryFinding | Kept | OpenTimestamp> {
    const { remote, registry, options } = this.parts
    const path = `/v1/registry/anchors/${this.id}/token`
    const token = await remote.bytes(path, { limit: TOKEN_LIMIT })
    const document = await remote.bytes(`/v1/registry/anchors/${this.id}/checkpoint`, { limit: NOTE_LIMIT })
    const verdict = await verifyTimestamp(token, document, options)
    if (verdict.outcome !== 'held') {
      const code = `timestamp_${verdict.code}`
      const message = `${path}: ${verdict.message}`
      return OPEN_FLAWS.includes(verdict.code) ? { code, message } : failed(code, message)
    }
    const { time, accuracyMs, authority } = verdict
    const at = new Date(time).toISOString()
    const kept = readKept(document, `the checkpoint that ${authority} stamped at ${at}`)
    if (kept === undefined) return failed('timestamp_malformed', `${path} is over bytes that are no checkpoint`)
    const { origin, size } = kept
    if (origin !== registry.origin || size > registry.size || size === 0)
      return unbound(`${path} is over ${origin} with ${size} entries, which is not shown here`)
    const under = await this.entriesUnder(size)
    if (!equalBytes(under.root, kept.root)) return kept
    if (!(await this.isPrefix(kept))) return failed('registry_root', "the registry's tiles do not give its signed root")
    const head = await this.head(size, under.newest)
    if ('code' in head) return head
    const { body, epoch } = head
    const about = { time: at, accuracyMs, authority, epoch, entries: body.size }
    const latest = time + accuracyMs + TIMESTAMP_SKEW_MS
    return { anchor: { kind: 'timestamp', path, ...about }, head: { ...head, latest }, origin: body.origin }
  }

  /** The root of the registry's first `size` entries, and the newest epoch among the last of them. */
  private async entriesUnder(size: number): Promise<{ root: Uint8Array; newest: RegistryEpoch | undefined }> {
    const { log, registry } = this.parts
    const index = Math.floor((size - 1) / TILE_WIDTH)
    const start = index * TILE_WIDTH
    const read = nodeOf(log, registry.size)
    const peaks = await Promise.all(nodesOf({ from: 0, to: start }).map(({ level, index }) => read(level, index)))
    const range = CompactRange.fromBytes(nodeSha256, start, concatBytes(peaks))
    const width = tileWidth('entries', index, registry.size)
    const entries = decodeBundle(await log.need({ level: 'entries', index, width }))
    if (entries?.length !== width)
      throw new NotServed(`bundle ${index} of the registry does not hold the entries that it must`)
    let newest: RegistryEpoch | undefined
    for (const [at, bytes] of entries.slice(0, size - start).entries()) {
      range.append(leafHash(nodeSha256, bytes))
      newest = epochIn(bytes, start + at) ?? newest
    }
    return { root: range.root(), newest }
  }

  private async isPrefix({ size, root }: Kept): Promise<boolean> {
    const { log, registry } = this.parts
    const whole = parseCheckpoint(parseNote(registry.note).text).root
    const proof = await registryConsistency(log, size, registry.size)
    return verifyConsistency(nodeSha256, size, registry.size, proof, root, whole)
  }

  /** What the stamped entries bind of the tenant: by their newest epoch, else by an older one whose slot is still shown. */
  private async head(size: number, newest: RegistryEpoch | undefined) {
    const { log, tenant, logName, registry } = this.parts
    const answer = newest && (await log.slot(tenant, newest.entry.epoch))
    if (newest !== undefined && answer?.ok === true) {
      const slot = readSlot(answer.value, newest, logName)
      if ('verdict' in slot) return slot
      const { epoch, time } = newest.entry
      const body = parseCheckpoint(slot.body)
      return {
        epoch,
        time,
        isNewest: newest.index === registry.newest?.index,
        body,
        shown: { slot, entry: newest.entry },
      }
    }
    const older = registry.heads.flatMap((head) => {
      const { body, shown } = head
      return 'origin' in body && shown !== undefined && shown.slot.index < size ? [{ ...head, body }] : []
    })
    return older.at(-1) ?? unbound(`no slot of this tenant is shown under the ${size} entries that were stamped`)
  }
}

function readKept(document: Uint8Array, label: string): Kept | undefined {
  try {
    const note = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(document)
    return { ...parseCheckpoint(parseNote(note).text), note, label }
  } catch (error) {
    if (error instanceof NoteError || error instanceof TypeError) return undefined
    throw error
  }
}

function epochIn(bytes: Uint8Array, index: number): RegistryEpoch | undefined {
  try {
    const entry = decodeRegistryEntry(bytes)
    return entry.kind === 'epoch' ? { index, entry } : undefined
  } catch (error) {
    if (error instanceof EntryError) return undefined // told by the walk over the registry
    throw error
  }
}
