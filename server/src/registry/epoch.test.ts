import { decodeRegistryEntry, depthFor, parseSlotProof } from '@affidavit/trail'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import {
  examineRegistry,
  makeSlots,
  seal,
  type TestSlot,
  temporaryObjects,
  testClock,
  testNotary,
  testSecret,
} from '../../test/registry-fixture.ts'
import type { Notary } from '../notarize/notary.ts'
import { type EpochRun, epochKey, readEpochHead, readEpochObject } from '../store/epoch-object.ts'
import type { EpochOutcome } from './epoch.ts'
import type { RegistryClock } from './registry.ts'
import { prune } from './statements.ts'

let database: TestDatabase
let folder: Awaited<ReturnType<typeof temporaryObjects>>
let clock: RegistryClock
let notary: Notary

beforeEach(async () => {
  database = await freshDatabase()
  folder = await temporaryObjects()
  clock = testClock(database.store, folder.objects)
  notary = testNotary(database.store)
})
afterEach(async () => {
  await Promise.all([clock.stop(), notary.stop()])
  await database.drop()
  await folder.remove()
})

/** Seals one event per trail named and has them notarized. */
async function write(...slots: readonly TestSlot[]): Promise<void> {
  await seal(
    database.superuser,
    slots.map(({ trail }) => trail),
  )
  await notary.round()
}

const head = async (epoch: number) => readEpochHead((await folder.objects.read(epochKey(epoch)))!, testSecret)

test('there is no epoch before the first checkpoint, and one every time after', async () => {
  const slots = await makeSlots(database.superuser, 3)
  expect(await clock.epoch()).toEqual({ kind: 'nothing' })
  await write(slots[0]!, slots[1]!)
  expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch: 1, changed: 2, depth: 8 })
  expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch: 2, changed: 0 })
  await write(slots[1]!, slots[2]!, slots[1]!)
  expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch: 3, changed: 2 })
  const { origin, size } = await examineRegistry(database.store, clock, slots)
  expect([origin, size]).toEqual(['log.example/audit/registry', 3])
  expect(await clock.proof(slots[2]!.tenant, 2)).toEqual({ kind: 'not_found' })
  expect(await clock.proof(slots[2]!.tenant, 4)).toEqual({ kind: 'not_found' })
  const latest = await clock.proof(slots[1]!.tenant, 'latest')
  expect(latest).toMatchObject({ kind: 'proof', epoch: 3 })
  expect(parseSlotProof((latest as { text: string }).text).body).toMatch(/\n3\n/)
})

test('every epoch has its object, the empty ones too, and it says what the log says', async () => {
  const slots = await makeSlots(database.superuser, 2)
  await write(slots[0]!, slots[0]!, slots[1]!)
  await clock.epoch()
  await clock.epoch()
  await write(slots[1]!)
  await clock.epoch()
  const { epochs } = await examineRegistry(database.store, clock, slots)
  const heads = [await head(1), await head(2), await head(3)]
  expect(heads.map(({ genuine }) => genuine)).toEqual([true, true, true])
  expect(heads.map(({ header }) => header.before)).toEqual([0, 1, 2])
  expect(heads.map(({ header }) => decodeRegistryEntry(header.entries.at(-1)!))).toEqual(
    epochs.map(({ index: _, ...entry }) => entry),
  )
  expect(heads.map(({ trails }) => trails.map(({ slot, from, size }) => [slot, from, size]))).toEqual([
    [
      [slots[0]!.slot, 0, 2],
      [slots[1]!.slot, 0, 1],
    ].sort((a, b) => a[0]! - b[0]!),
    [],
    [[slots[1]!.slot, 1, 2]],
  ])
  const object = await readEpochObject((await folder.objects.read(epochKey(3)))!, testSecret)
  const runs: EpochRun[] = []
  for await (const run of object.runs()) runs.push(run)
  expect(runs.map(({ trail, entries }) => [trail.slot, entries.map(({ seq }) => seq)])).toEqual([[slots[1]!.slot, [1]]])
})

test('an unchanged trail has another leaf in every epoch, and so has an empty slot', async () => {
  const slots = await makeSlots(database.superuser, 2)
  await write(...slots)
  await clock.epoch()
  await clock.epoch()
  const proofs = await Promise.all(
    [1, 2].map(async (epoch) => {
      const outcome = await clock.proof(slots[0]!.tenant, epoch)
      return parseSlotProof((outcome as { text: string }).text)
    }),
  )
  expect(proofs[0]!.body).toBe(proofs[1]!.body)
  expect(proofs[0]!.blind).not.toEqual(proofs[1]!.blind)
  // Every sibling, from the neighbour's leaf up to half of the tree, is another one.
  for (const [level, hash] of proofs[0]!.path.entries()) expect(hash).not.toEqual(proofs[1]!.path[level])
  expect(new Set(proofs.flatMap(({ path }) => path.map((hash) => Buffer.from(hash).toString('hex')))).size).toBe(16)
})

test('half of the slots stay empty: the tree deepens, and old epochs keep their depth', async () => {
  const first = await makeSlots(database.superuser, 120)
  await write(...first.slice(0, 10))
  expect(await clock.epoch()).toMatchObject({ depth: 8 })
  const more = await makeSlots(database.superuser, 10)
  await write(...more, first[0]!)
  expect(await clock.epoch()).toMatchObject({ depth: 9 })
  const slots = [...first, ...more]
  expect(new Set(slots.map(({ slot }) => slot)).size).toBe(130)
  const { epochs } = await examineRegistry(database.store, clock, slots)
  expect(epochs.map(({ depth }) => depth)).toEqual([8, 9])
})

test('a trail that shrank, or whose checkpoint this log did not sign, keeps the head that it had', async () => {
  const slots = await makeSlots(database.superuser, 3)
  await write(...slots)
  await clock.epoch()
  await write(...slots)
  const [shrunk, forged] = [slots[0]!.trail, slots[1]!.trail]
  await database.superuser.query('update affidavit.notarized set size = 0 where trail = $1', [shrunk])
  await database.superuser.query(`update affidavit.notarized set root = sha256('x') where trail = $1`, [forged])
  const outcome = await clock.epoch()
  expect(outcome).toMatchObject({ kind: 'made', changed: 1 })
  expect((outcome as Extract<EpochOutcome, { kind: 'made' }>).broken.map(({ reason }) => reason).sort()).toEqual([
    'its checkpoint was not signed by this log',
    'the newest epoch has 1 entries, its checkpoint 0',
  ])
  await examineRegistry(database.store, clock, slots)
})

test('what is not covered is not claimed: no epoch while the notary lags, or the clock lies behind', async () => {
  const slots = await makeSlots(database.superuser, 1)
  await write(slots[0]!)
  await clock.epoch()
  await seal(database.superuser, [slots[0]!.trail])
  await database.superuser.query(`set session_replication_role = replica`)
  await database.superuser.query(
    `update affidavit.events set sealed_at = sealed_at - interval '101 seconds' where seq = 1`,
  )
  expect(await clock.epoch()).toMatchObject({ kind: 'postponed', reason: 'notary' })
  await notary.round()
  expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch: 2 })
  await database.superuser.query(`update affidavit.registry set at = clock_timestamp() + interval '2 minutes'`)
  expect(await clock.epoch()).toMatchObject({ kind: 'postponed', reason: 'clock' })
  await database.superuser.query(`update affidavit.registry set at = clock_timestamp() + interval '20 seconds'`)
  expect(await clock.epoch()).toMatchObject({ kind: 'made', epoch: 3 })
  await database.superuser.query(
    `update affidavit.registry_epochs set at = r.at from affidavit.registry r where number = 3`,
  )
})

test('the last epoch of a day is found out by the first one of another', async () => {
  await write(...(await makeSlots(database.superuser, 1)))
  await clock.epoch()
  await clock.epoch()
  await database.superuser.query(
    `with aged as (update affidavit.registry set at = at - interval '1 day')
      update affidavit.registry_epochs set at = at - interval '1 day'`,
  )
  await clock.epoch()
  await clock.epoch()
  const { rows } = await database.superuser.query('select number from affidavit.registry_epochs where audit')
  expect(rows).toEqual([{ number: 2 }])
})

test('audit epochs are kept for good, other epochs for seven days', async () => {
  const slots = await makeSlots(database.superuser, 2)
  const days = 10
  const ages: { epoch: number; hours: number }[] = []
  for (let day = days; day > 0; day--) {
    for (const hour of [0, 10, 20]) {
      await write(slots[0]!)
      await clock.epoch()
      ages.push({ epoch: ages.length + 1, hours: day * 24 - hour })
    }
  }
  await clock.epoch()
  // As if they had been made three a day, ten days long.
  await database.superuser.query(
    `with aged as (select e, date_trunc('day', clock_timestamp()) - make_interval(hours => h) as at
        from unnest($1::int[], $2::int[]) as u (e, h))
      update affidavit.registry_epochs set at = a.at, audit = number % 3 = 0 from aged a where number = a.e`,
    [ages.map(({ epoch }) => epoch), ages.map(({ hours }) => hours)],
  )
  const audits = Array.from({ length: days }, (_, n) => 3 * (n + 1))
  const pool = database.store.pool('notary')
  const expired = await prune(pool, 7, 4)
  expect(expired).toBe(4)
  while ((await prune(pool, 7, 4)) > 0);
  const gone: number[] = []
  for (let epoch = 1; epoch <= 3 * days + 1; epoch++) {
    const outcome = await clock.proof(slots[0]!.tenant, epoch)
    if (outcome.kind === 'expired') gone.push(epoch)
    // The proof says what was there then, though later bodies came and others are gone.
    else expect(parseSlotProof((outcome as { text: string }).text).body).toMatch(`\n${Math.min(epoch, 3 * days)}\n`)
  }
  const { rows } = await database.superuser.query<{ pruned: number }>('select pruned from affidavit.registry')
  expect(rows[0]!.pruned).toBeGreaterThanOrEqual(9)
  expect(gone).toEqual(Array.from({ length: rows[0]!.pruned }, (_, n) => n + 1).filter((n) => !audits.includes(n)))
  const bodies = await database.superuser.query('select epoch from affidavit.slot_bodies order by epoch')
  expect(bodies.rows.map(({ epoch }) => epoch)).toEqual(
    Array.from({ length: 3 * days }, (_, n) => n + 1).filter((n) => audits.includes(n) || !gone.includes(n)),
  )
})

test('the depth that the database computes is the one of the format', async () => {
  const used = Array.from({ length: 29 }, (_, n) => 2 ** n).flatMap((n) => [n - 1, n, n + 1])
  const { rows } = await database.superuser.query<{ depth: number }>(
    'select affidavit.slot_depth(n) as depth from unnest($1::int[]) as n',
    [used],
  )
  expect(rows.map(({ depth }) => depth)).toEqual(used.map(depthFor))
})
