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
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  const vkey = formatVkey(nodeSha256, ORIGIN, raw)
  const source = new EventSource({ ...zipfMix, tenants: 1, people: PEOPLE })
  const entries: Uint8Array[] = []
  const payloads: Payload[] = []
  const range = new CompactRange(nodeSha256)
  let previous = NO_PREVIOUS
  for (let seq = 0; seq < size; seq++) {
    const { entry, payload } = seq === 0 ? opening(vkey) : made(seq, source)
    const bytes = Buffer.from(encodeEntry({ ...entry, previous }), 'latin1')
    previous = hash('sha256', Buffer.concat([Buffer.of(0), bytes]), 'base64')
    range.append(fromBase64(previous)!)
    entries.push(bytes)
    payloads.push(payload)
  }
  const signer = {
    name: ORIGIN,
    id: keyId(nodeSha256, ORIGIN, 1, raw),
    sign: (m: Uint8Array) => sign(null, m, privateKey),
  }
  const checkpoint = await signNote(formatCheckpoint(ORIGIN, size, range.root()), [signer])
  return { size, entries, payloads, root: range.root(), key: parseVkey(nodeSha256, vkey), vkey, checkpoint }
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
export async function writeTrailPack(trail: MadeTrail, contents: number, path: string): Promise<void> {
  const manifest: Manifest = {
    trail: TRAIL,
    origin: ORIGIN,
    size: trail.size,
    ranges: [{ from: 0, to: contents }],
    bundles: [{ from: 0, to: Math.ceil(trail.size / TILE_WIDTH) }],
    withheld: [],
    limit: USUAL_LIMIT,
    optional: [],
  }
  const chunks = writePack(nodeSha256, manifest, {
    checkpoint: trail.checkpoint,
    vkeys: [trail.vkey],
    bundle: async (index) => {
      const first = index * TILE_WIDTH
      return encodeBundle(trail.entries.slice(first, first + tileWidth('entries', index, trail.size)))
    },
    content: (seqs) => seqs.map((seq) => trail.payloads[seq]!),
    tile: () => Promise.reject(new Error('a whole trail needs no tiles')),
  })
  await pipeline(Readable.from(chunks, { objectMode: false }), createWriteStream(path))
}
