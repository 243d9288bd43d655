// What the registry's tests need: tenants with slots, a notary, a clock over a folder of objects, and an examination of
// everything the registry shows, by the trail package alone.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  checkSlotProof,
  decodeBundle,
  decodeRegistryEntry,
  type Epoch,
  formatVkey,
  isLastOfDay,
  leafHash,
  parseCheckpoint,
  parseSlotProof,
  parseVkey,
  TILE_WIDTH,
  tileWidth,
  treeRoot,
  verifyConsistency,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import type pg from 'pg'
import { seal, testLogKey, testLogName } from '../src/notarize/fixture.ts'
import { Notary } from '../src/notarize/notary.ts'
import { RegistryReader } from '../src/registry/read.ts'
import { RegistryClock, type RegistryOptions } from '../src/registry/registry.ts'
import type { Database } from '../src/store/database.ts'
import { openFolderObjects } from '../src/store/folder-objects.ts'
import { silent } from '../src/store/log.ts'
import type { Objects } from '../src/store/objects.ts'
import { sha256 } from '../src/store/sha256.ts'

export { seal, testLogKey, testLogName }

/** @returns a folder for objects, and what removes it */
export async function temporaryObjects(): Promise<{ folder: string; objects: Objects; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-registry-'))
  const objects = await openFolderObjects(folder)
  return { folder, objects, remove: () => rm(folder, { recursive: true, force: true }) }
}

export interface TestSlot {
  readonly tenant: number
  readonly trail: number
  readonly slot: number
}

/** Tenants as the server makes them, with keys that open nothing. */
export async function makeSlots(superuser: pg.Client, count: number, shards = 4): Promise<TestSlot[]> {
  await superuser.query(`select affidavit.create_partitions((clock_timestamp() at time zone 'UTC')::date - 3, 5)`)
  const { rows } = await superuser.query<{ before: number }>(
    'select coalesce(max(number), 0) as before from affidavit.tenants',
  )
  const { before } = rows[0]!
  for (let n = 0; n < count; n++) {
    await superuser.query(
      `with drawn as materialized (select affidavit.free_slot() as slot)
        select affidavit.create_tenant('tenant-' || gen_random_uuid(), null, false,
          (lpad(to_hex(slot), 8, '0') || substr(md5(random()::text), 9))::uuid, ($1::int % $2)::smallint, '', '') from drawn`,
      [n, shards],
    )
  }
  const made = await superuser.query<TestSlot>(
    'select tenant, trail, slot from affidavit.slots where tenant > $1 order by tenant',
    [before],
  )
  return made.rows
}

export const testSecret = Buffer.alloc(32, 7)

export function testClock(store: Database, objects: Objects, more: Partial<RegistryOptions> = {}): RegistryClock {
  return new RegistryClock({
    store,
    objects,
    log: silent,
    secret: testSecret,
    logName: testLogName,
    logKeys: [testLogKey],
    ...more,
  })
}

export const testNotary = (store: Database): Notary =>
  new Notary({ store, log: silent, logKey: testLogKey, logName: testLogName })

export const recoveryPublicKey = Buffer.alloc(32, 9)

export const testReader = (store: Database, preferQuorum = false): RegistryReader =>
  new RegistryReader({ store, preferQuorum, recoveryPublicKey })

export interface Examined {
  readonly origin: string
  readonly size: number
  readonly epochs: readonly (Epoch & { index: number })[]
}

/**
 * Reads the whole log as a verifier does, and every slot proof of the epochs given.
 * @throws Error that names the first thing that does not hold
 */
export async function examineRegistry(
  store: Database,
  clock: RegistryClock,
  tenants: readonly TestSlot[],
  which: 'all' | 'newest' = 'all',
): Promise<Examined> {
  const reader = testReader(store)
  const served = await reader.checkpoint()
  if (served === undefined) throw new Error('there is no registry checkpoint')
  const key = parseVkey(sha256, formatVkey(sha256, served.origin, testLogKey.publicKey))
  const note = await verifyNote(verifyEd25519, served.note, [key])
  if (note.verified.length !== 1) throw new Error('the registry checkpoint is not signed')
  const { origin, size, root } = parseCheckpoint(note.text)
  const entries = await readLog(reader, size)
  const leaves = entries.map((entry) => leafHash(sha256, entry))
  if (!Buffer.from(treeRoot(sha256, leaves)).equals(root)) throw new Error('the root is not that of the entries')
  await examineTiles(reader, leaves)
  for (let from = 1; from < size; from = from * 2 + 1) {
    const proof = await reader.consistency(from, size)
    const older = treeRoot(sha256, leaves.slice(0, from))
    if (!verifyConsistency(sha256, from, size, proof, older, root))
      throw new Error(`${from} to ${size} is not consistent`)
  }
  const epochs = entries.flatMap((bytes, index) => {
    const entry = decodeRegistryEntry(bytes)
    return entry.kind === 'epoch' ? [{ ...entry, index }] : []
  })
  await examineEpochs(store, epochs)
  const shown = which === 'all' ? epochs : epochs.slice(-1)
  for (const epoch of shown) for (const tenant of tenants) await examineSlot(clock, epoch, tenant)
  return { origin, size, epochs }
}

async function readLog(reader: RegistryReader, size: number): Promise<Uint8Array[]> {
  const entries: Uint8Array[] = []
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const bundle = await reader.tile({ level: 'entries', index, width: tileWidth('entries', index, size) })
    entries.push(...decodeBundle(bundle!)!)
  }
  return entries
}

async function examineTiles(reader: RegistryReader, leaves: readonly Uint8Array[]): Promise<void> {
  let hashes = leaves
  for (let level = 0; hashes.length > 0; level++) {
    const above: Uint8Array[] = []
    for (let at = 0; at < hashes.length; at += TILE_WIDTH) {
      const expected = hashes.slice(at, at + TILE_WIDTH)
      const tile = await reader.tile({ level, index: at / TILE_WIDTH, width: expected.length })
      if (tile === undefined || !Buffer.concat(expected).equals(tile)) throw new Error(`tile ${level}/${at} differs`)
      if (expected.length === TILE_WIDTH) above.push(treeRoot(sha256, expected))
    }
    hashes = above
  }
}

/** Numbers without a gap, times that rise, the last one of a day an audit epoch and no other. */
async function examineEpochs(store: Database, epochs: Examined['epochs']): Promise<void> {
  const { rows } = await store
    .pool('reader')
    .query<{ number: number; audit: boolean }>('select number, audit from affidavit.registry_epochs order by number')
  epochs.forEach((epoch, n) => {
    const next = epochs[n + 1]
    if (epoch.epoch !== n + 1) throw new Error(`epoch ${epoch.epoch} stands where ${n + 1} is expected`)
    if (next !== undefined && next.time <= epoch.time)
      throw new Error(`epoch ${next.epoch} lies before the one before it`)
    const audit = next !== undefined && isLastOfDay(epoch.time, next.time)
    if (rows[n]?.audit !== audit)
      throw new Error(`epoch ${epoch.epoch} is ${audit ? 'not ' : ''}kept as an audit epoch`)
  })
  if (rows.length !== epochs.length) throw new Error('there are epochs that the log does not have')
}

async function examineSlot(
  clock: RegistryClock,
  epoch: Epoch & { index: number },
  { tenant }: TestSlot,
): Promise<void> {
  const outcome = await clock.proof(tenant, epoch.epoch)
  if (outcome.kind !== 'proof') return
  const proof = parseSlotProof(outcome.text)
  if (proof.index !== epoch.index) throw new Error(`the proof names entry ${proof.index} for epoch ${epoch.epoch}`)
  const flaw = checkSlotProof(sha256, proof, epoch)
  if (flaw !== undefined) throw new Error(`the slot proof of tenant ${tenant} in epoch ${epoch.epoch} fails: ${flaw}`)
}
