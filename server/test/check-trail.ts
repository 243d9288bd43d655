// The oracle of the fault tests: takes every trail home as an auditor would and asks the real verifier; then holds what
// clients were told against what is there. A verifier that was here before brings its kept checkpoint along.
import { hash as digest } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  contradicts,
  decodeBundle,
  decodeContent,
  PackReader,
  parseCheckpoint,
  parseNote,
  parseVkey,
  TILE_WIDTH,
  type Verification,
  type VerifierKey,
  verifyEd25519,
  verifyPack,
  verifyReceipt,
} from '@affidavit/trail'
import { sha256 } from '../src/store/sha256.ts'

/** What a client was told about one event, whenever it was told. */
export interface Acknowledged {
  id: string
  tenant: string
  seq: number
  /** Hex. */
  hash: string
  previous: string
  /** Signed note, where the client kept it. */
  receipt?: string
  /** Value of metadata.marker, unique among all events that clients made. */
  marker: string
}

export interface Service {
  url: string
  key: string
}

/** What a verifier keeps between visits, per tenant. */
export interface Kept {
  vkey: string
  checkpoint?: { origin: string; size: number; root: Uint8Array }
}

export const get = async ({ url, key }: Service, path: string, patience_ms = 60_000): Promise<Response> =>
  fetch(`${url}${path}`, { headers: { authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(patience_ms) })

async function getText(service: Service, path: string): Promise<string> {
  const response = await get(service, path)
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return response.text()
}

export interface TrailInfo {
  trail: string
  origin: string
  vkey: string
  size: number
}

export const trailInfo = async (service: Service, tenant: string): Promise<TrailInfo> =>
  JSON.parse(await getText(service, `/v1/trails/${tenant}`)) as TrailInfo

/** Waits until the checkpoint of a tenant's trail covers `size` entries. */
export async function notarized(
  service: Service,
  tenant: string,
  size: number,
  patience_ms = 60_000,
): Promise<TrailInfo> {
  for (const until = Date.now() + patience_ms; ; await sleep(50)) {
    const info = await trailInfo(service, tenant)
    if (info.size >= size) return info
    if (Date.now() > until) throw new Error(`${tenant} is notarized to ${info.size}, not to ${size}`)
  }
}

export async function downloadPack(service: Service, tenant: string, range = ''): Promise<PackReader> {
  const ask = () => get(service, `/v1/trails/${tenant}/pack${range}`)
  let response = await ask()
  // Not at this moment: connections of before a crash are found dead one by one, and a machine may be very busy.
  for (const until = Date.now() + 30_000; response.status === 503 && Date.now() < until; ) {
    await sleep(100)
    response = await ask()
  }
  if (!response.ok) throw new Error(`pack: ${response.status} ${await response.text()}`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  return PackReader.open(sha256, {
    size: bytes.length,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
  })
}

/** Asks the verifier about a pack, with what the visitor kept. */
export async function verdictOf(pack: PackReader, kept: Kept): Promise<Verification> {
  return verifyPack(pack, {
    hash: sha256,
    verify: verifyEd25519,
    vkeys: [parseVkey(sha256, kept.vkey)],
    ...(kept.checkpoint !== undefined && { kept: [kept.checkpoint] }),
  })
}

export async function checkpointOf(pack: PackReader): Promise<NonNullable<Kept['checkpoint']>> {
  return parseCheckpoint(parseNote(await pack.text('checkpoint')).text)
}

interface Found {
  /** Leaf hash by seq, hex. */
  leaves: string[]
  /** Of each event: its id and marker. */
  events: { seq: number; id: string; marker: string | undefined }[]
}

async function contentsOf(pack: PackReader): Promise<Found> {
  const leaves: string[] = []
  const events: Found['events'] = []
  for (let index = 0; index * TILE_WIDTH < pack.manifest.size; index++) {
    for (const entry of decodeBundle(await pack.bundle(index))!)
      leaves.push(digest('sha256', Buffer.concat([Buffer.of(0), entry]), 'hex'))
    for (const line of await pack.contentLines(index)) {
      const { seq, facts } = decodeContent(line)!
      const event = JSON.parse(facts!.content) as { id?: string; metadata?: { marker?: string } }
      if (event.id !== undefined) events.push({ seq, id: event.id, marker: event.metadata?.marker })
    }
  }
  return { leaves, events }
}

function duplicatesOf(values: readonly string[]): string[] {
  const seen = new Set<string>()
  return values.filter((value) => seen.size === seen.add(value).size)
}

export interface CheckOptions {
  service: Service
  tenants: readonly string[]
  acknowledged: readonly Acknowledged[]
  /** Updated with what this visit saw. */
  kept: Map<string, Kept>
}

/**
 * Every trail verifies and grew from what was kept; every acknowledged event is there exactly once, at the place and
 * with the hashes its client was told; no event is there twice.
 * @returns what is wrong, in sentences; nothing if all is well
 */
export async function checkTrails({ service, tenants, acknowledged, kept }: CheckOptions): Promise<string[]> {
  const wrong: string[] = []
  for (const tenant of tenants) {
    const told = acknowledged.filter((one) => one.tenant === tenant)
    const size = told.reduce((most, { seq }) => Math.max(most, seq + 1), 0)
    if (size === 0) continue
    const { vkey } = await notarized(service, tenant, size)
    const mine = kept.get(tenant) ?? { vkey }
    const pack = await downloadPack(service, tenant)
    const verification = await verdictOf(pack, mine)
    if (verification.outcome !== 'held')
      wrong.push(`${tenant}: ${verification.outcome} ${JSON.stringify(verification.findings.slice(0, 5))}`)
    kept.set(tenant, { vkey: mine.vkey, checkpoint: await checkpointOf(pack) })
    wrong.push(...(await compare(tenant, told, await contentsOf(pack), mine.vkey)))
  }
  return wrong
}

async function compare(tenant: string, told: readonly Acknowledged[], found: Found, vkey: string): Promise<string[]> {
  const wrong: string[] = []
  const say = (sentence: string) => wrong.length < 20 && wrong.push(`${tenant}: ${sentence}`)
  for (const id of duplicatesOf(found.events.map(({ id }) => id))) say(`id ${id} was sealed twice`)
  const markers = found.events.flatMap(({ marker }) => (marker === undefined ? [] : [marker]))
  for (const marker of duplicatesOf(markers)) say(`the event with marker ${marker} was sealed twice`)
  const bySeq = new Map(found.events.map((event) => [event.seq, event]))
  for (const { id, seq, hash, previous, marker } of told) {
    const event = bySeq.get(seq)
    if (event?.id !== id) say(`event ${id} was acknowledged at ${seq}, where ${event?.id ?? 'nothing'} is`)
    else if (event.marker !== marker) say(`event ${id} has other content than was sent`)
    else if (found.leaves[seq] !== hash) say(`event ${id} was acknowledged with hash ${hash}, now ${found.leaves[seq]}`)
    else if (seq > 0 && found.leaves[seq - 1] !== previous) say(`event ${id} was told another previous hash`)
  }
  for (const note of new Set(told.flatMap(({ receipt }) => receipt ?? [])))
    if (!(await receiptHolds(note, parseVkey(sha256, vkey), found.leaves))) say(`a receipt is broken: ${note}`)
  return wrong
}

async function receiptHolds(note: string, key: VerifierKey, leaves: readonly string[]): Promise<boolean> {
  const { receipt, verified } = await verifyReceipt(verifyEd25519, note, [key])
  const leaf = leaves[receipt.last]
  return verified.length === 1 && !contradicts(receipt, leaf === undefined ? undefined : Buffer.from(leaf, 'hex'))
}

/** All events of a tenant as the API lists them, oldest first, page by page. @returns id and seq of each */
export async function listAll(service: Service, tenant: string): Promise<{ id: string; seq: number }[]> {
  const all: { id: string; seq: number }[] = []
  for (let after = ''; ; ) {
    const path = `/v1/events?tenant=${tenant}&order=asc&limit=500${after && `&after=${encodeURIComponent(after)}`}`
    const page = JSON.parse(await getText(service, path)) as {
      data: { id: string; seq: number }[]
      next: string | null
    }
    all.push(...page.data.map(({ id, seq }) => ({ id, seq })))
    if (page.next === null || (page.data.length === 0 && page.next === after)) return all
    after = page.next
  }
}
