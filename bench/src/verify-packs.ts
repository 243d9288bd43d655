// Packs of made-up trails for the benchmark of the verifier: as many events as asked for, each with facts cut as the
// server cuts them and one personal line.
import { generateKeyPairSync, hash, hkdfSync, sign } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  CATEGORIES,
  CompactRange,
  commitText,
  type Entry,
  encodeBundle,
  encodeEntry,
  formatCheckpoint,
  formatVkey,
  fromBase64,
  keyId,
  type Manifest,
  NO_PREVIOUS,
  type Payload,
  parseVkey,
  type SaltedPart,
  signNote,
  TILE_WIDTH,
  tileWidth,
  toBase64,
  USUAL_LIMIT,
  type VerifierKey,
  writePack,
} from '@affidavit/trail'
import { nodeSha256 } from 'affidavit/src/verify/node-hash.ts'
import { EventSource, zipfMix } from './events.ts'

const TRAIL = '5f0c63a2d1b84e7796a0c1d2e3f40516'
const ORIGIN = `bench.example/${TRAIL}`
const START_MS = Date.UTC(2026, 2, 10)
const PEOPLE = 40

export interface MadeTrail {
  readonly size: number
  readonly entries: readonly Uint8Array[]
  readonly payloads: readonly Payload[]
  readonly root: Uint8Array
  readonly key: VerifierKey
  readonly vkey: string
  readonly checkpoint: string
}

/** A trail of `size` entries: the open entry, then events of 540 bytes as they came in. */
export async function makeTrail(size: number): Promise<MadeTrail> {
  const { vkey, sign } = makeKey()
  const source = new EventSource({ ...zipfMix, tenants: 1, people: PEOPLE })
  const entries: Uint8Array[] = []
  const payloads: Payload[] = []
  const range = new CompactRange(nodeSha256)
  for (const { bytes, leaf, payload } of sealing(size, (seq) => (seq === 0 ? opening(vkey) : made(seq, source)))) {
    range.append(leaf)
    entries.push(bytes)
    payloads.push(payload)
  }
  const checkpoint = await sign(size, range.root())
  return { size, entries, payloads, root: range.root(), key: parseVkey(nodeSha256, vkey), vkey, checkpoint }
}

/**
 * Writes a pack of a trail of any size without holding it: every event is the same one, so that it is quickly made and
 * lies small on the disk. @returns the trail's verifier key
 */
export async function writeLongPack(size: number, path: string): Promise<string> {
  const { vkey, sign } = makeKey()
  const [first, other] = [opening(vkey), made(1, new EventSource({ ...zipfMix, tenants: 1, people: PEOPLE }))]
  const entries = () => sealing(size, (seq) => (seq === 0 ? first : again(other, seq)))
  const range = new CompactRange(nodeSha256)
  for (const { leaf } of entries()) range.append(leaf)
  const checkpoint = await sign(size, range.root())
  const left = entries()
  const next = () => left.next().value!.bytes
  await writeOut({ size, vkey, checkpoint }, size, path, {
    bundle: (_, width) => Array.from({ length: width }, next),
    payload: (seq) => (seq === 0 ? first.payload : { ...other.payload, seq }),
  })
  return vkey
}

const again = ({ entry, payload }: Made, seq: number): Made => ({ entry: { ...entry, ...header(seq) }, payload })

function makeKey(): { vkey: string; sign: (size: number, root: Uint8Array) => Promise<string> } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  const signer = {
    name: ORIGIN,
    id: keyId(nodeSha256, ORIGIN, 1, raw),
    sign: (m: Uint8Array) => sign(null, m, privateKey),
  }
  return {
    vkey: formatVkey(nodeSha256, ORIGIN, raw),
    sign: (size, root) => signNote(formatCheckpoint(ORIGIN, size, root), [signer]),
  }
}

interface Sealed {
  readonly bytes: Uint8Array
  readonly leaf: Uint8Array
  readonly payload: Payload
}

function* sealing(size: number, make: (seq: number) => Made): Generator<Sealed, undefined> {
  let previous = NO_PREVIOUS
  for (let seq = 0; seq < size; seq++) {
    const { entry, payload } = make(seq)
    const bytes = Buffer.from(encodeEntry({ ...entry, previous }), 'latin1')
    previous = hash('sha256', Buffer.concat([Buffer.of(0), bytes]), 'base64')
    yield { bytes, leaf: fromBase64(previous)!, payload }
  }
}

interface Made {
  readonly entry: Entry
  readonly payload: Payload
}

function opening(vkey: string): Made {
  const facts = part('facts 0', '{"reason":"benchmark"}')
  const control = { kind: 'open', origin: ORIGIN, retention: 'forever', log: [vkey], recovery: [] } as const
  const entry: Entry = { ...header(0), body: { control }, facts: commitment('control', facts), personal: [] }
  return { entry, payload: { seq: 0, facts } }
}

function made(seq: number, source: EventSource): Made {
  const { content, persona, person } = split(seq, source)
  const facts = part(`facts ${seq}`, content)
  const personal = part(`personal ${seq}`, persona)
  const key = hash('md5', `person ${person}`)
  const entry: Entry = {
    ...header(seq),
    body: { event: CATEGORIES[seq % CATEGORIES.length]! },
    facts: commitment('facts', facts),
    personal: [{ key, commitment: commitment('personal', personal) }],
  }
  return { entry, payload: { seq, facts, personal: [{ n: 0, ...personal }] } }
}

/** Sealed in transactions of a hundred. */
function header(seq: number): Omit<Entry, 'body' | 'facts' | 'personal'> {
  return { trail: TRAIL, seq, previous: '', sealedAt: new Date(START_MS + Math.floor(seq / 100) * 7).toISOString() }
}

interface Arrived {
  readonly id: string
  readonly actor: Readonly<Record<string, unknown>>
  readonly context: Readonly<Record<string, unknown>>
}

/** Names and addresses are cut into the persona, as the server does. */
function split(seq: number, source: EventSource): { content: string; persona: string; person: unknown } {
  const event = source.next(START_MS + seq) as Arrived
  const { name, email } = event.actor
  const { ip, user_agent } = event.context
  const mark = { $personal: 0 }
  const content = JSON.stringify({
    ...event,
    actor: { ...event.actor, name: mark, email: mark },
    context: { ...event.context, ip: mark, user_agent: mark },
    received_at: new Date(START_MS + seq + 3).toISOString(),
    api_key: 'k7f2mq4c',
  })
  const persona = JSON.stringify([
    ['/actor/email', email],
    ['/actor/name', name],
    ['/context/ip', ip],
    ['/context/user_agent', user_agent],
  ])
  return { content, persona, person: event.actor.id }
}

function part(seed: string, content: string): SaltedPart {
  return { salt: toBase64(new Uint8Array(hkdfSync('sha256', 'bench', seed, '', 16))), content }
}

function commitment(kind: 'facts' | 'control' | 'personal', { salt, content }: SaltedPart): string {
  return commitText(nodeSha256, kind, Buffer.from(salt, 'base64'), content)
}

/** Writes a pack of all entries. @param contents how many of them, from the first, come with their payload */
export function writeTrailPack(trail: MadeTrail, contents: number, path: string): Promise<void> {
  return writeOut(trail, contents, path, {
    bundle: (first, width) => trail.entries.slice(first, first + width),
    payload: (seq) => trail.payloads[seq]!,
  })
}

interface Parts {
  /** So many entries from one on; asked for in order. */
  readonly bundle: (first: number, width: number) => readonly Uint8Array[]
  readonly payload: (seq: number) => Payload
}

async function writeOut(
  { size, vkey, checkpoint }: Pick<MadeTrail, 'size' | 'vkey' | 'checkpoint'>,
  contents: number,
  path: string,
  { bundle, payload }: Parts,
): Promise<void> {
  const manifest: Manifest = {
    trail: TRAIL,
    origin: ORIGIN,
    size,
    ranges: [{ from: 0, to: contents }],
    bundles: [{ from: 0, to: Math.ceil(size / TILE_WIDTH) }],
    withheld: [],
    limit: USUAL_LIMIT,
    optional: [],
  }
  const chunks = writePack(nodeSha256, manifest, {
    checkpoint,
    vkeys: [vkey],
    bundle: async (index) => encodeBundle(bundle(index * TILE_WIDTH, tileWidth('entries', index, size))),
    content: (seqs) => seqs.map(payload),
    tile: () => Promise.reject(new Error('a whole trail needs no tiles')),
  })
  await pipeline(Readable.from(chunks, { objectMode: false }), createWriteStream(path))
}
