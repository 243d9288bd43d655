/**
 * A whole trail in memory, made from seeds only, so that tests and golden vectors see the same bytes everywhere.
 * Nothing here is secret and nothing here is used outside tests.
 */
import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import {
  bundlesOf,
  CATEGORIES,
  CompactRange,
  type Control,
  commitText,
  concatBytes,
  type Entry,
  encodeBundle,
  encodeEntry,
  formatCheckpoint,
  formatVkey,
  hmacKey,
  keyId,
  leafHash,
  type Manifest,
  NO_PREVIOUS,
  type NoteSigner,
  type PackSource,
  type Payload,
  parseVkey,
  personalSalt,
  type RandomAccess,
  type ReadNode,
  rangeHash,
  type SaltedPart,
  signNote,
  TILE_WIDTH,
  tileWidth,
  toBase64,
  toHex,
  treeRoot,
  USUAL_LIMIT,
  type VerifierKey,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'

export const ascii = new TextEncoder()

/** `length` bytes that depend on `seed` alone. */
export function seeded(seed: string, length: number): Uint8Array {
  return nodeSha256(ascii.encode(seed)).slice(0, length)
}

/** The slot of the sample's tenant, which all of its trails' ids begin with. */
export const SLOT = seeded('slot', 1)[0]!

export function trailId(seed: string, slot: number): string {
  return slot.toString(16).padStart(8, '0') + toHex(seeded(seed, 12))
}

export const TRAIL = trailId('trail', SLOT)
export const ORIGIN = `log.example/${TRAIL}`

/** The Ed25519 key whose seed is SHA-256("log key <name>"). */
export function seededKey(name: string, seed = 'log key'): { vkey: string; key: VerifierKey; signer: NoteSigner } {
  const pkcs8 = concatBytes([Buffer.from('302e020100300506032b657004220420', 'hex'), seeded(`${seed} ${name}`, 32)])
  const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' })
  const publicKey = new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32))
  const signer = { name, id: keyId(nodeSha256, name, 1, publicKey), sign: (m: Uint8Array) => sign(null, m, privateKey) }
  const vkey = formatVkey(nodeSha256, name, publicKey)
  return { vkey, key: parseVkey(nodeSha256, vkey), signer }
}

export const LOG = seededKey(ORIGIN)

export interface SampleTrail {
  readonly entries: Entry[]
  readonly bytes: Uint8Array[]
  readonly leaves: Uint8Array[]
  readonly payloads: Payload[]
}

/** The time `minutes` after the sample's beginning. */
export function sampleTime(minutes: number): string {
  return new Date(Date.UTC(2026, 2, 10, 18, 33, 14, 123) + minutes * 60_000).toISOString()
}

export const OPEN: Control = { kind: 'open', origin: ORIGIN, retention: 30, log: [LOG.vkey], recovery: [] }

/** Subject key ids of the people in the sample. */
export const SUBJECTS = ['ada', 'bob', 'cyd'].map((name) => toHex(seeded(`subject ${name}`, 16)))

export interface Planned {
  readonly control?: Control
  readonly minutes?: number
}

/** `size` entries, one a minute: the open entry, events, and the control entries given by seq; `days` lie before a seq. */
export function planOf(
  size: number,
  controls: Readonly<Record<number, Control>> = {},
  days: Readonly<Record<number, number>> = {},
): Planned[] {
  let late = 0
  return Array.from({ length: size }, (_, seq) => {
    late = (days[seq] ?? late / 1440) * 1440
    const control = seq === 0 ? OPEN : controls[seq]
    return { minutes: seq + late, ...(control && { control }) }
  })
}

/**
 * A trail of `plan.length` entries: control entries where planned, else events that go through all shapes.
 * `factsInstead`: other facts by seq.
 */
export function makeTrail(plan: readonly Planned[], factsInstead?: ReadonlyMap<number, string>): SampleTrail {
  const trail: SampleTrail = { entries: [], bytes: [], leaves: [], payloads: [] }
  for (const [seq, planned] of plan.entries()) {
    seal(trail, seq, planned, part(`facts ${seq}`, factsInstead?.get(seq) ?? factsOf(seq, planned.control)))
  }
  return trail
}

function seal(trail: SampleTrail, seq: number, planned: Planned, facts: SaltedPart): void {
  const confidential = seq % 5 === 3 ? part(`confidential ${seq}`, `[["/changes",[{"path":"/role"}]]]`) : undefined
  const operator = seq % 3 === 2 ? part(`operator ${seq}`, `[["/context/session_id","s-${seq}"]]`) : undefined
  const personal = planned.control === undefined ? people(seq, facts) : []
  const commit = (
    kind: 'facts' | 'control' | 'confidential' | 'operator' | 'personal',
    { salt, content }: SaltedPart,
  ) => commitText(nodeSha256, kind, Buffer.from(salt, 'base64'), content)
  const entry: Entry = {
    trail: TRAIL,
    seq,
    previous: seq === 0 ? NO_PREVIOUS : toBase64(trail.leaves[seq - 1]!),
    sealedAt: sampleTime(planned.minutes ?? seq),
    body: planned.control === undefined ? { event: CATEGORIES[seq % 6]! } : { control: planned.control },
    facts: commit(planned.control === undefined ? 'facts' : 'control', facts),
    ...(confidential && { confidential: commit('confidential', confidential) }),
    ...(operator && { operator: commit('operator', operator) }),
    personal: personal.map((p) => ({ key: SUBJECTS[(seq + p.n) % 3]!, commitment: commit('personal', p) })),
  }
  const bytes = ascii.encode(encodeEntry(entry))
  trail.entries.push(entry)
  trail.bytes.push(bytes)
  trail.leaves.push(leafHash(nodeSha256, bytes))
  trail.payloads.push({
    seq,
    facts,
    ...(confidential && { confidential }),
    ...(operator && { operator }),
    ...(personal.length > 0 && { personal }),
  })
}

function factsOf(seq: number, control: Control | undefined): string {
  if (control !== undefined) return JSON.stringify({ reason: `because of ${control.kind}` })
  return JSON.stringify({
    id: `evt_${seq}`,
    action: 'user.role.updated',
    occurred_at: sampleTime(seq),
    // Entries without a personal line have nobody whose name was cut out.
    actor: { type: 'user', id: `user_${seq % 3}`, ...(seq % 3 > 0 && { name: { $personal: 0 } }) },
    outcome: 'success',
  })
}

function part(seed: string, content: string): SaltedPart {
  return { salt: toBase64(seeded(`salt ${seed}`, 16)), content }
}

function people(seq: number, facts: SaltedPart): (SaltedPart & { n: number })[] {
  return Array.from({ length: seq % 3 }, (_, n) => {
    const name = ['ada', 'bob', 'cyd'][(seq + n) % 3]!
    const key = hmacKey(nodeSha256, seeded(`salt key ${name}`, 32))
    const salt = toBase64(personalSalt(nodeSha256, key, Buffer.from(facts.salt, 'base64'), n))
    return { n, salt, content: JSON.stringify([['/actor/name', `${name} é`]]) }
  })
}

/** Roots by size, and nodes above a tile by place: of the same leaves many packs are made. */
const known = new WeakMap<readonly Uint8Array[], Map<string, Uint8Array>>()

function once(leaves: readonly Uint8Array[], name: string, make: () => Uint8Array): Uint8Array {
  const of = known.get(leaves) ?? new Map<string, Uint8Array>()
  known.set(leaves, of)
  const hash = of.get(name) ?? make()
  of.set(name, hash)
  return hash
}

export function rootOf({ leaves }: SampleTrail, size = leaves.length): Uint8Array {
  return once(leaves, `root ${size}`, () => {
    const range = new CompactRange(nodeSha256)
    for (const leaf of leaves.slice(0, size)) range.append(leaf)
    return range.root()
  })
}

export function readNode({ leaves }: SampleTrail): ReadNode {
  return (level, index) => {
    const width = 2 ** level
    const make = () => treeRoot(nodeSha256, leaves.slice(index * width, (index + 1) * width))
    return width < TILE_WIDTH ? make() : once(leaves, `${level}/${index}`, make)
  }
}

export function signedCheckpoint(trail: SampleTrail, size = trail.leaves.length, signer = LOG.signer): Promise<string> {
  return signNote(formatCheckpoint(ORIGIN, size, rootOf(trail, size)), [signer])
}

export function manifestOf(trail: SampleTrail, changes: Partial<Manifest> = {}): Manifest {
  const size = changes.size ?? trail.leaves.length
  const ranges = changes.ranges ?? [{ from: 0, to: size }]
  return {
    trail: TRAIL,
    origin: ORIGIN,
    size,
    ranges,
    bundles: bundlesOf(ranges),
    withheld: [],
    limit: USUAL_LIMIT,
    optional: [],
    ...changes,
  }
}

export async function sourceOf(
  trail: SampleTrail,
  manifest: Manifest,
  changes: Partial<PackSource> = {},
): Promise<PackSource> {
  const node = readNode(trail)
  return {
    checkpoint: await signedCheckpoint(trail, manifest.size),
    vkeys: [LOG.vkey],
    bundle: async (index) => {
      const first = index * TILE_WIDTH
      return encodeBundle(trail.bytes.slice(first, first + tileWidth('entries', index, manifest.size)))
    },
    content: (seqs) => seqs.map((seq) => trail.payloads[seq]!),
    tile: async (level, index, width) => {
      const span = TILE_WIDTH ** level
      const hash = (at: number) => ({
        from: (index * TILE_WIDTH + at) * span,
        to: (index * TILE_WIDTH + at + 1) * span,
      })
      return concatBytes(
        await Promise.all(Array.from({ length: width }, (_, at) => rangeHash(nodeSha256, node, hash(at)))),
      )
    },
    ...changes,
  }
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk.slice())
  return concatBytes(parts)
}

export function fileOf(bytes: Uint8Array): RandomAccess {
  return { size: bytes.length, read: async (offset, length) => bytes.slice(offset, offset + length) }
}
