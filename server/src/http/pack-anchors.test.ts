// What a timestamp binds of a trail, years later: the slots of most epochs are kept for days only.
import {
  checkSlotProof,
  decodeRegistryEntry,
  type Epoch,
  leafHash,
  parseCheckpoint,
  parseNote,
  parseSlotProof,
  verifyInclusion,
} from '@affidavit/trail'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import {
  makeSlots,
  seal,
  type TestSlot,
  temporaryObjects,
  testClock,
  testNotary,
  testReader,
} from '../../test/registry-fixture.ts'
import type { RegistryClock } from '../registry/registry.ts'
import { sha256 } from '../store/sha256.ts'
import { stampedCopy } from './pack-anchors.ts'

let database: TestDatabase
let folder: Awaited<ReturnType<typeof temporaryObjects>>
let clock: RegistryClock
let slots: TestSlot[]

/** Five epochs, one more entry in each; the third is the last of its day, and the fourth was stamped. */
beforeEach(async () => {
  database = await freshDatabase()
  folder = await temporaryObjects()
  clock = testClock(database.store, folder.objects)
  slots = await makeSlots(database.superuser, 2)
  const notary = testNotary(database.store)
  for (let epoch = 1; epoch <= 5; epoch++) {
    await seal(database.superuser, [slots[0]!.trail])
    await notary.round()
    expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch })
  }
  await notary.stop()
  await database.superuser.query('update affidavit.registry_epochs set audit = true where number = 3')
  await database.superuser.query(
    `insert into affidavit.anchored (anchor, kind, origin, epoch, size, note, token, public, at, details)
       select 'stamp', 'timestamp', r.origin, n.epoch, n.size, n.note, '\\x3003', true, now(), '{}'
         from affidavit.registry r, affidavit.registry_notes n where n.epoch = 4`,
  )
})
afterEach(async () => {
  await clock.stop()
  await database.drop()
  await folder.remove()
})

const copyOf = (tenant: number, begun?: number) =>
  stampedCopy(
    {
      store: database.store.pool('reader'),
      registry: testReader(database.store),
      thread: { slotProof: (tenant, epoch) => clock.proof(tenant, epoch) },
    },
    tenant,
    5,
    begun,
  )

/** @returns the epoch that is shown, and how many entries it binds, once everything under the stamped checkpoint fits */
async function bound(): Promise<{ epoch: number; entries: number }> {
  const { index, entry, slotProof, checkpoint, inclusion } = (await copyOf(slots[0]!.tenant))!.bound!
  const { size, root } = parseCheckpoint(parseNote(checkpoint).text)
  expect(size).toBe(4)
  expect(verifyInclusion(sha256, leafHash(sha256, Buffer.from(entry)), index, size, inclusion, root)).toBe(true)
  const proof = parseSlotProof(slotProof)
  expect(proof.index).toBe(index)
  expect(checkSlotProof(sha256, proof, decodeRegistryEntry(entry) as Epoch)).toBeUndefined()
  return { epoch: proof.epoch, entries: parseCheckpoint(proof.body).size }
}

test("by the stamped epoch while its slots are kept, then by the day's last one before it", async () => {
  expect(await bound()).toEqual({ epoch: 4, entries: 4 })
  await database.superuser.query(`update affidavit.registry_epochs set at = at - interval '8 days' where number < 5`)
  await database.superuser.query(`select affidavit.prune_registry('7 days', 100)`)
  expect(await clock.proof(slots[0]!.tenant, 4)).toEqual({ kind: 'expired' })
  expect(await bound()).toEqual({ epoch: 3, entries: 3 })
})

test('however many copies in buckets came after it; to go on with a pack, the one that it has', async () => {
  const ids = async (where: string) =>
    (await database.superuser.query<{ id: number }>(`select id from affidavit.anchored where ${where}`)).rows
  const [stamp] = await ids(`kind = 'timestamp'`)
  await database.superuser.query(
    `insert into affidavit.anchored (anchor, kind, origin, epoch, size, note, public)
       select 'worm', 'bucket', origin, epoch, size, note, true from affidavit.anchored, generate_series(1, 200)`,
  )
  expect((await copyOf(slots[0]!.tenant))!.id).toBe(stamp!.id)
  await database.superuser.query(
    `insert into affidavit.anchored (anchor, kind, origin, epoch, size, note, token, public)
       select anchor, kind, origin, epoch, size + n, note, token, true from affidavit.anchored, generate_series(1, 2) n
         where kind = 'timestamp' order by n`,
  )
  // The one after that is of a registry larger than what is served.
  const [, newer] = await ids(`kind = 'timestamp' order by id`)
  expect((await copyOf(slots[0]!.tenant))!.id).toBe(newer!.id)
  expect((await copyOf(slots[0]!.tenant, stamp!.id))!.id).toBe(stamp!.id)
  expect(await copyOf(slots[0]!.tenant, stamp!.id + 1)).toBeUndefined()
})

test('nothing where no epoch under it that is kept has the trail', async () => {
  expect((await copyOf(slots[1]!.tenant))!.bound).toBeUndefined()
  await database.superuser.query(
    `update affidavit.registry_epochs set at = at - interval '8 days', audit = false where number < 5`,
  )
  await database.superuser.query(`select affidavit.prune_registry('7 days', 100)`)
  expect((await copyOf(slots[0]!.tenant))!.bound).toBeUndefined()
})
