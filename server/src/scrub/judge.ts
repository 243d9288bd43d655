// Judges a page: chain, leaf hashes, tiles and checkpoint by recomputing them; payloads by the verifier's own code
// (ContentVerifier); derived columns by columns.ts.
import {
  type Absence,
  CompactRange,
  ContentVerifier,
  type Entry,
  encodeEntry,
  Findings,
  leafHash,
  NO_PREVIOUS,
  type Payload,
  parseCheckpoint,
  TILE_WIDTH,
} from '@affidavit/trail'
import { decryptConfidential } from '../keys/confidential.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { entryOfRow, linesOf, sealedPart } from '../store/event-row.ts'
import { sha256 } from '../store/sha256.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { wrongColumns, wrongTokens } from './columns.ts'
import { type Mismatch, mismatch } from './mismatch.ts'
import type { Page, ScrubRow } from './page.ts'

/** How far a trail was read: the state between its pages. */
export interface TrailState {
  /** Leaf hashes of [0, seq). */
  readonly range: CompactRange
  /** The last of them: those of the tile that is not full. */
  leaves: Buffer[]
  /** Leaf hash of entry seq − 1; null for the first. */
  previous: Buffer | null
  position: number
}

export interface Judging {
  readonly tenant: Tenant<TenantKeys>
  readonly absence: Absence
  /** Personas whose tokens were compared already. */
  readonly known: Set<number>
  /** Milliseconds since 1970. */
  readonly now: number
}

/** Stands for the leaf hash of an entry that is missing. */
const noHash = Buffer.alloc(32)

/** What was announced as gone may still be there for this long: the announcement is sealed before the deletion. */
const grace_ms = 86_400_000

/** Compares one page with what it is derived from, and moves the state to its end. */
export function judgePage(page: Page, state: TrailState, judging: Judging): Mismatch[] {
  const wrong: Mismatch[] = []
  const findings = new Findings()
  const content = new ContentVerifier({
    hash: sha256,
    absence: judging.absence,
    findings,
    withheld: [],
    graceMs: grace_ms,
    now: judging.now,
  })
  const computed: Buffer[] = []
  const full: FullTile[] = []
  const keyIds = new Map([...page.subjects].map(([number, { keyId }]) => [number, keyId]))
  let expected = state.range.size
  for (const row of page.rows) {
    if (row.seq !== expected) wrong.push(missing(expected, row.seq))
    // What is missing gets a place in the tree, so that what comes after it is judged at its own.
    for (; expected < row.seq; expected++) append(state, noHash, full)
    expected = row.seq + 1
    const judged = judgeEntry(page, keyIds, row, state.previous, computed.at(-1))
    if ('entry' in judged) {
      if (judged.leaf === undefined)
        wrong.push(mismatch(row.seq, 'hash', `the columns of entry ${row.seq} do not give its leaf hash`, printed(row)))
      const payload = payloadOf(page, judging.tenant, row)
      if ('broken' in payload) wrong.push(payload.broken)
      else content.check(row.seq, judged.entry, payload)
      computed.push(judged.leaf ?? row.hash)
    } else {
      wrong.push(judged)
      computed.push(row.hash)
    }
    if (row.position < state.position)
      wrong.push(
        mismatch(row.seq, 'position', `entry ${row.seq} stands before its predecessor in the shard`, row.position),
      )
    state.position = row.position
    state.previous = row.hash
    append(state, row.hash, full)
    wrong.push(...wrongColumns(page, judging.tenant, row))
  }
  for (const { code, message, seq } of findings.sorted()) {
    // A person who does not open is told once (wrongTokens), not in each of their events.
    if (code === 'unexplained' && hasTampered(page, seq)) continue
    wrong.push(mismatch(seq ?? null, contentOf(message), message, [code, printOf(page, seq)]))
  }
  wrong.push(...wrongTokens(page, judging.tenant, judging.known), ...wrongTiles(page, full))
  if (state.range.size >= page.trail.size || page.rows.length === 0) wrong.push(...wrongEnd(page, state))
  return wrong
}

interface FullTile {
  readonly index: number
  readonly hashes: Buffer
}

/** Adds a leaf, and the tile that it fills to `full`. */
function append(state: TrailState, leaf: Buffer, full: FullTile[]): void {
  state.range.append(leaf)
  state.leaves.push(leaf)
  if (state.range.size % TILE_WIDTH !== 0) return
  if (state.leaves.length === TILE_WIDTH)
    full.push({ index: state.range.size / TILE_WIDTH - 1, hashes: Buffer.concat(state.leaves) })
  state.leaves = []
}

function hasTampered({ rows, people }: Page, seq: number | undefined): boolean {
  const row = rows.find((one) => one.seq === seq)
  return row !== undefined && linesOf(row.personal).some(({ persona }) => people.get(persona) === 'tampered')
}

const missing = (from: number, to: number) =>
  mismatch(from, 'events', `entries ${from} to ${to - 1} are missing without having been truncated`, [from, to])

/** `facts of entry 5 is not what was sealed` → `facts` */
const contentOf = (message: string) => /^(facts|confidential|operator|personal)/.exec(message)?.[1] ?? 'content'

function printOf({ rows }: Page, seq: number | undefined): unknown {
  const row = rows.find((one) => one.seq === seq)
  return row && printed(row)
}

/** Everything that an entry and its payload are made of. */
function printed(row: ScrubRow): unknown[] {
  const { sealed_at, category, control, facts, facts_salt, ...columns } = row
  const bytes = [columns.facts_commitment, columns.hash, columns.personal, columns.confidential, columns.operator]
  return [sealed_at, category, control, facts, facts_salt, ...bytes.map((part) => part?.toString('base64'))]
}

/**
 * The entry of a row and its leaf hash, recomputed. Two hashes may precede it: the one that is stored and, where that is
 * itself wrong, the one that the entry before should have.
 */
function judgeEntry(
  page: Page,
  keyIds: ReadonlyMap<number, string>,
  row: ScrubRow,
  stored: Buffer | null,
  right: Buffer | undefined,
): { entry: Entry; leaf: Buffer | undefined } | Mismatch {
  const operator = row.operator === null ? undefined : sealedPart(row.operator).commitment.toString('base64')
  const candidates = [stored, right].filter((hash) => hash !== undefined)
  let first: Entry | undefined
  try {
    for (const hash of candidates) {
      const entry = entryOfRow(page.trail.id, row, hash?.toString('base64') ?? NO_PREVIOUS, keyIds, operator)
      const leaf = Buffer.from(leafHash(sha256, Buffer.from(encodeEntry(entry), 'latin1')))
      if (leaf.equals(row.hash)) return { entry, leaf }
      first ??= entry
    }
  } catch (error) {
    return mismatch(row.seq, 'hash', `entry ${row.seq} cannot be encoded: ${(error as Error).message}`, printed(row))
  }
  return { entry: first!, leaf: undefined }
}

/** The payload as the verifier takes it. */
function payloadOf(page: Page, tenant: Tenant<TenantKeys>, row: ScrubRow): Payload | { broken: Mismatch } {
  const salt = row.facts_salt === null ? null : Buffer.from(row.facts_salt.replaceAll('-', ''), 'hex')
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const personal = linesOf(row.personal).flatMap((line, n) => {
    const reading = page.people.get(line.persona)
    if (typeof reading !== 'object' || salt === null) return []
    return [{ n, salt: base64(reading.saltKey.salt(salt, n)), content: reading.content }]
  })
  try {
    const confidential = row.confidential === null ? undefined : openConfidential(tenant, row.confidential)
    const operator = row.operator === null ? undefined : openOperator(row.operator)
    return {
      seq: row.seq,
      ...(row.facts !== null && salt !== null && { facts: { content: row.facts, salt: base64(salt) } }),
      ...(confidential && { confidential }),
      ...(operator && { operator }),
      ...(personal.length > 0 && { personal }),
    }
  } catch (error) {
    const message = `the confidential values of entry ${row.seq} do not open: ${(error as Error).message}`
    return { broken: mismatch(row.seq, 'confidential', message, row.confidential) }
  }
}

function openConfidential(tenant: Tenant<TenantKeys>, column: Buffer) {
  const { commitment, salt, content } = sealedPart(column)
  if (salt.length === 0) return undefined
  return { salt: salt.toString('base64'), content: decryptConfidential(tenant, commitment, content) }
}

function openOperator(column: Buffer) {
  const { salt, content } = sealedPart(column)
  return salt.length === 0 ? undefined : { salt: salt.toString('base64'), content: content.toString('utf8') }
}

/** Level-0 tiles hold the leaves; each tile above holds the roots of those under it. */
function* wrongTiles({ tiles }: Page, leaves: readonly FullTile[]): Generator<Mismatch> {
  const stored = new Map(tiles.map((tile) => [`${tile.level} ${tile.index}`, tile.hashes]))
  const wrong = (level: number, index: number, hashes: Buffer | undefined) =>
    mismatch(
      index * TILE_WIDTH ** (level + 1),
      'tiles',
      `tile ${level}/${index} is not made of what is under it`,
      hashes ?? null,
    )
  let level = 0
  let full = leaves
  while (full.length > 0) {
    const above: FullTile[] = []
    for (const { index, hashes } of full) {
      const tile = stored.get(`${level} ${index}`)
      if (tile === undefined || !tile.equals(hashes)) yield wrong(level, index, tile)
      const parent = Math.floor(index / TILE_WIDTH)
      const parentTile = stored.get(`${level + 1} ${parent}`)
      const at = (index % TILE_WIDTH) * 32
      const there = parentTile?.subarray(at, at + 32)
      if (there === undefined || !there.equals(rootOf(hashes))) yield wrong(level + 1, parent, parentTile)
      else if (index % TILE_WIDTH === TILE_WIDTH - 1) above.push({ index: parent, hashes: parentTile! })
    }
    full = above
    level += 1
  }
}

function rootOf(hashes: Buffer): Uint8Array {
  const range = new CompactRange(sha256)
  for (let at = 0; at < hashes.length; at += 32) range.append(hashes.subarray(at, at + 32))
  return range.root()
}

/** At the end of what is notarized: the checkpoint's root, the notary's own range, and the head that grows from there. */
function* wrongEnd({ trail, rows }: Page, { range }: TrailState): Generator<Mismatch> {
  if (range.size < trail.size) {
    yield mismatch(range.size, 'events', `entries from ${range.size} on are missing`, [range.size, rows.length])
    return
  }
  if (range.size > trail.size) return // the checkpoint is older than this walk: somebody put an old one back
  const root = Buffer.from(range.root())
  if (!root.equals(trail.root))
    yield mismatch(null, 'notarized', 'the entries do not give the root of the checkpoint', trail.root)
  if (!Buffer.from(range.toBytes()).equals(trail.range))
    yield mismatch(null, 'notarized', 'the compact range of the notary is not that of the entries', trail.range)
  if (trail.headSize < trail.size) yield mismatch(null, 'heads', 'the head lies behind the checkpoint', trail.headSize)
  try {
    const told = parseCheckpoint(trail.note.slice(0, trail.note.indexOf('\n\n') + 1))
    if (told.size !== trail.size || !root.equals(Buffer.from(told.root)))
      yield mismatch(null, 'notarized', 'the signed checkpoint speaks of another size or root', trail.note)
  } catch {
    yield mismatch(null, 'notarized', 'the signed checkpoint cannot be read', trail.note)
  }
}
