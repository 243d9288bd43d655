import { generateKeyPairSync } from 'node:crypto'
import {
  checkSlotProof,
  decodeRegistryEntry,
  type Epoch,
  leafHash,
  parseCheckpoint,
  parseSlotProof,
  parseVkey,
  type Successor,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  verifySuccessor,
} from '@affidavit/trail'
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import {
  makeSlots,
  recoveryPublicKey,
  seal,
  type TestSlot,
  temporaryObjects,
  testClock,
  testLogKey,
  testNotary,
  testReader,
} from '../../test/registry-fixture.ts'
import { logKey } from '../keys/log-key.ts'
import { sha256 } from '../store/sha256.ts'
import { slotEvidence } from './evidence.ts'
import type { RegistryClock } from './registry.ts'

let database: TestDatabase
let folder: Awaited<ReturnType<typeof temporaryObjects>>
let clock: RegistryClock
let slots: TestSlot[]

beforeEach(async () => {
  database = await freshDatabase()
  folder = await temporaryObjects()
  clock = testClock(database.store, folder.objects)
  slots = await makeSlots(database.superuser, 2)
  await seal(database.superuser, [slots[0]!.trail])
  const notary = testNotary(database.store)
  await notary.round()
  await notary.stop()
  await clock.epoch()
})
afterEach(async () => {
  await clock.stop()
  await database.drop()
  await folder.remove()
})

const notaryPool = () => database.store.pool('notary')
const cosign = (size: number, witness: string, line: string) =>
  notaryPool().query('select affidavit.attach_cosignature($1, $2, $3, clock_timestamp())', [size, witness, line])

test('a checkpoint with its quorum is preferred to a newer one without, for ten minutes', async () => {
  const plain = testReader(database.store)
  const preferring = testReader(database.store, true)
  expect(await preferring.checkpoint()).toMatchObject({ size: 1, quorum: false })
  await cosign(1, 'b.example', '— b.example BBBB\n')
  await cosign(1, 'a.example', '— a.example AAAA\n')
  await cosign(1, 'b.example', '— b.example CCCC\n')
  await cosign(77, 'b.example', '— b.example DDDD\n')
  await notaryPool().query('select affidavit.note_quorum(1)')
  await clock.epoch()
  const served = await preferring.checkpoint()
  expect(served).toMatchObject({ size: 1, epoch: 1, quorum: true })
  expect(served!.note).toMatch(/— a\.example AAAA\n— b\.example CCCC\n$/)
  expect(await plain.checkpoint()).toMatchObject({ size: 2, quorum: false })
  await database.superuser.query(`update affidavit.registry_notes set signed_at = signed_at - interval '11 minutes'`)
  expect(await preferring.checkpoint()).toMatchObject({ size: 2, quorum: false })
})

test('cosignatures that come slower than epochs are served all the same, however often somebody asks', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => {
    vi.useRealTimers()
  })
  const reader = testReader(database.store, true)
  expect(await reader.checkpoint()).toMatchObject({ size: 1, quorum: false })
  await clock.epoch()
  expect(await reader.checkpoint()).toMatchObject({ size: 1, quorum: false })
  vi.advanceTimersByTime(5_000)
  expect(await reader.checkpoint()).toMatchObject({ size: 2, quorum: false })
  await clock.epoch()
  expect(await reader.checkpoint()).toMatchObject({ size: 2, quorum: false })
  await clock.epoch()
  await notaryPool().query('select affidavit.note_quorum(3)')
  expect(await reader.checkpoint()).toMatchObject({ size: 3, quorum: true })
})

test('what was shown without a quorum is not taken back for an older one that gets it late', async () => {
  const reader = testReader(database.store, true)
  await clock.epoch()
  expect(await reader.checkpoint()).toMatchObject({ size: 2, quorum: false })
  await notaryPool().query('select affidavit.note_quorum(1)')
  expect(await reader.checkpoint()).toMatchObject({ size: 2, quorum: false })
  await clock.epoch()
  await notaryPool().query('select affidavit.note_quorum(2)')
  expect(await reader.checkpoint()).toMatchObject({ size: 2, quorum: true })
})

test('evidence for a pack binds a head to the checkpoint that is served', async () => {
  const reader = testReader(database.store)
  await clock.epoch()
  await clock.epoch()
  const thread = { slotProof: (tenant: number, epoch: number | 'latest') => clock.proof(tenant, epoch) }
  const evidence = (await slotEvidence(reader, thread, slots[0]!.tenant))!
  const { size, root } = parseCheckpoint((await verifyNote(verifyEd25519, evidence.checkpoint, [])).text)
  const leaf = leafHash(sha256, Buffer.from(evidence.entry))
  expect(verifyInclusion(sha256, leaf, evidence.index, size, evidence.inclusion, root)).toBe(true)
  const proof = parseSlotProof(evidence.slotProof)
  expect(proof.index).toBe(evidence.index)
  expect(checkSlotProof(sha256, proof, decodeRegistryEntry(evidence.entry) as Epoch)).toBeUndefined()
  expect(await slotEvidence(reader, thread, slots[1]!.tenant)).toBeUndefined()
})

test('successors of the log key are entries before the epoch that they first sign; the old key signs along', async () => {
  const { origin } = (await testReader(database.store).checkpoint())!
  const [first, second, third] = [testLogKey, newKey(), newKey()]
  const next = testClock(database.store, folder.objects, { logKeys: [third, second, first] })
  expect(await next.epoch()).toMatchObject({ kind: 'made', epoch: 2 })
  expect(await next.epoch()).toMatchObject({ kind: 'made', epoch: 3 })
  // A process that was not started again has to leave the registry to others; so has one without any named key.
  expect(await clock.epoch()).toMatchObject({ kind: 'postponed', reason: 'keys' })
  const stranger = testClock(database.store, folder.objects, { logKeys: [newKey()] })
  expect(await stranger.epoch()).toMatchObject({ kind: 'postponed', reason: 'keys' })
  const alone = testClock(database.store, folder.objects, { logKeys: [third] })
  expect(await alone.epoch()).toMatchObject({ kind: 'made', epoch: 4 })

  const { rows } = await database.superuser.query<{ kind: string; entry: string }>(
    'select kind, entry from affidavit.registry_entries order by index',
  )
  expect(rows.map(({ kind }) => kind)).toEqual(['epoch', 'key', 'key', 'epoch', 'epoch', 'epoch'])
  let known = parseVkey(sha256, first.vkey(origin))
  for (const [n, successor] of [second, third].entries()) {
    const entry = decodeRegistryEntry(rows[n + 1]!.entry) as Successor
    const followed = await verifySuccessor(sha256, verifyEd25519, entry, [known], origin)
    expect(followed).toEqual(parseVkey(sha256, successor.vkey(origin)))
    known = followed!
  }
  const notes = await database.superuser.query<{ note: string }>(
    'select note from affidavit.registry_notes order by size',
  )
  const signers = await Promise.all(
    notes.rows.map(async ({ note }) => {
      const keys = [first, second, third].map((key) => parseVkey(sha256, key.vkey(origin)))
      return (await verifyNote(verifyEd25519, note, keys)).verified.map((key) => keys.indexOf(key))
    }),
  )
  expect(signers).toEqual([[0], [2, 1, 0], [2, 1, 0], [2]])
  const vkeys = (await testReader(database.store).vkeys())!
  expect(vkeys.slice(0, 3)).toEqual([first, second, third].map((key) => key.vkey(origin)))
  expect(Buffer.from(parseVkey(sha256, vkeys[3]!).publicKey)).toEqual(recoveryPublicKey)
  await Promise.all([next.stop(), stranger.stop(), alone.stop()])
})

const newKey = () => logKey(generateKeyPairSync('ed25519').privateKey)

test('a registry after a loss begins with what it continues, and counts on', async () => {
  const lost = await freshDatabase()
  const empty = await temporaryObjects()
  const begin = `select affidavit.begin_registry('log.example/audit/registry.1',
    array['affidavit/1 registry\ncontinues log.example/audit/registry 5 ${Buffer.alloc(32).toString('base64')}\n'], 41)`
  try {
    await lost.store.pool('keeper').query(begin)
    await expect(lost.store.pool('keeper').query(begin)).rejects.toMatchObject({ code: 'AF013' })
    const after = testClock(lost.store, empty.objects)
    expect(await after.epoch()).toEqual({ kind: 'nothing' })
    const [slot] = await makeSlots(lost.superuser, 1)
    await seal(lost.superuser, [slot!.trail])
    const notary = testNotary(lost.store)
    await notary.round()
    await notary.stop()
    expect(await after.epoch()).toMatchObject({ kind: 'made', epoch: 42 })
    expect(await after.proof(slot!.tenant, 'latest')).toMatchObject({ kind: 'proof', epoch: 42 })
    const { rows } = await lost.superuser.query('select kind from affidavit.registry_entries order by index')
    expect(rows.map(({ kind }) => kind)).toEqual(['continues', 'epoch'])
    expect(await testReader(lost.store).checkpoint()).toMatchObject({ origin: 'log.example/audit/registry.1', size: 2 })
    await after.stop()
  } finally {
    await lost.drop()
    await empty.remove()
  }
})

test('a deleted tenant keeps its slot and its last body; its trail may go', async () => {
  const keeper = database.store.pool('keeper')
  const { tenant, trail, slot } = slots[0]!
  const entomb = async (tenant: number) =>
    (await keeper.query<{ done: boolean }>('select affidavit.entomb_slot($1) as done', [tenant])).rows[0]!.done
  await seal(database.superuser, [trail])
  expect(await entomb(tenant)).toBe(false) // its last entry is in no epoch yet
  const notary = testNotary(database.store)
  await notary.round()
  await notary.stop()
  await clock.epoch()
  expect(await entomb(tenant)).toBe(true)
  expect(await entomb(tenant)).toBe(true)
  await database.superuser.query('delete from affidavit.notarized where trail = $1', [trail])
  expect(await clock.epoch()).toMatchObject({ kind: 'made', changed: 0, broken: [] })
  const proof = await clock.proof(tenant, 'latest')
  expect(parseSlotProof((proof as { text: string }).text)).toMatchObject({ slot, epoch: 3 })
  await expect(
    keeper.query(
      `select affidavit.continue_trail($1, (lpad(to_hex($2::int), 8, '0') || repeat('0', 24))::uuid, 0::smallint)`,
      [tenant, slot],
    ),
  ).rejects.toMatchObject({ code: 'AF012' })
})

test('a trail that continues another stays in its slot', async () => {
  const keeper = database.store.pool('keeper')
  const { tenant, slot } = slots[0]!
  const id = slot.toString(16).padStart(8, '0').padEnd(32, 'c')
  const other = (slot ^ 1).toString(16).padStart(8, '0').padEnd(32, 'c')
  const continued = (trail: string) =>
    keeper.query<{ trail: number }>('select affidavit.continue_trail($1, $2, 1::smallint) as trail', [tenant, trail])
  await expect(continued(other)).rejects.toMatchObject({ code: 'AF012' })
  const next = (await continued(id)).rows[0]!.trail
  expect(await clock.epoch()).toMatchObject({ kind: 'made', changed: 0 })
  await seal(database.superuser, [next])
  const notary = testNotary(database.store)
  await notary.round()
  await notary.stop()
  expect(await clock.epoch()).toMatchObject({ kind: 'made', changed: 1 })
  const bodies = await Promise.all(
    [2, 3].map(async (epoch) => {
      const proof = await clock.proof(tenant, epoch)
      return parseSlotProof((proof as { text: string }).text).body.split('\n')
    }),
  )
  expect(bodies.map(([origin, size]) => [origin!.slice(-4), size])).toEqual([
    [expect.not.stringMatching('cccc'), '1'],
    ['cccc', '1'],
  ])
})
