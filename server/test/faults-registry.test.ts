// Epochs survive what happens to the processes that make them: SIGKILL at each step, several at once, an object that is
// there already, a database older than its objects. AFFIDAVIT_LONG=1 kills for longer.
import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeRegistryEntry } from '@affidavit/trail'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { logKey } from '../src/keys/log-key.ts'
import type { Notary } from '../src/notarize/notary.ts'
import type { RegistryClock } from '../src/registry/registry.ts'
import { epochKey, readEpochHead, writeEpochObject } from '../src/store/epoch-object.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { runnable } from './packed.ts'
import {
  examineRegistry,
  makeSlots,
  seal,
  type TestSlot,
  temporaryObjects,
  testClock,
  testLogKey,
  testNotary,
  testSecret,
} from './registry-fixture.ts'

const long = process.env.AFFIDAVIT_LONG === '1'

let database: TestDatabase
let folder: Awaited<ReturnType<typeof temporaryObjects>>
let clock: RegistryClock
let notary: Notary
let slots: TestSlot[]
const children = new Set<ChildProcess>()

beforeEach(async () => {
  database = await freshDatabase()
  folder = await temporaryObjects()
  clock = testClock(database.store, folder.objects)
  notary = testNotary(database.store)
  slots = await makeSlots(database.superuser, 4)
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  await Promise.all([clock.stop(), notary.stop()])
  await database.drop()
  await folder.remove()
})

async function write(...to: readonly TestSlot[]): Promise<void> {
  await seal(
    database.superuser,
    to.map(({ trail }) => trail),
  )
  await notary.round()
}

function launch(step: string, ...successor: string[]): ChildProcess {
  const entry = runnable('server/test/registry-process-entry.ts')
  const child = spawn(process.execPath, [entry, database.url, folder.folder, step, ...successor], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.add(child)
  return child
}

async function ended(child: ChildProcess): Promise<string | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  children.delete(child)
  return child.signalCode
}

const objectBytes = (epoch: number) => readFile(join(folder.folder, epochKey(epoch)))
const stored = async () => (await readdir(join(folder.folder, 'epochs')).catch(() => [])).length

test.each(['planned', 'object', 'signed', 'committed'])('killed when it had %s', async (step) => {
  await write(...slots.slice(0, 3))
  await clock.epoch()
  await write(...slots.slice(1))
  expect(await ended(launch(step))).toBe('SIGKILL')
  const left = step === 'planned' ? undefined : await objectBytes(2)
  expect(await stored()).toBe(left === undefined ? 1 : 2)
  // Events go on meanwhile: the epoch that is completed does not have them, the next one does.
  await write(...slots)
  const next = testClock(database.store, folder.objects)
  const expected = step === 'committed' ? 3 : 2
  expect(await next.epoch()).toMatchObject({ kind: 'made', epoch: expected })
  const { epochs, size } = await examineRegistry(database.store, next, slots)
  expect(size).toBe(expected)
  if (left !== undefined) {
    expect(await objectBytes(2)).toEqual(left)
    const { header } = await readEpochHead((await folder.objects.read(epochKey(2)))!, testSecret)
    const { index: _, ...second } = epochs[1]!
    expect(second).toEqual(decodeRegistryEntry(header.entries.at(-1)!))
  }
  expect(await next.epoch()).toMatchObject({ kind: 'made', epoch: expected + 1 })
  await examineRegistry(database.store, next, slots)
  const { rows } = await database.superuser.query(
    'select s.size = h.size as same from affidavit.slots s join affidavit.heads h using (trail)',
  )
  expect(rows).toEqual(slots.map(() => ({ same: true })))
  await next.stop()
})

test('killed at each step while the log key is succeeded: one entry names the successor, and both keys sign', async () => {
  await write(...slots)
  await clock.epoch()
  const { privateKey } = generateKeyPairSync('ed25519')
  const successor = logKey(privateKey)
  const key = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')
  for (const step of ['planned', 'object', 'signed', 'committed']) {
    await write(slots[0]!)
    expect(await ended(launch(step, key))).toBe('SIGKILL')
  }
  const next = testClock(database.store, folder.objects, { logKeys: [successor, testLogKey] })
  expect(await next.epoch()).toMatchObject({ kind: 'made', epoch: 3 })
  await examineRegistry(database.store, next, slots)
  const { rows } = await database.superuser.query('select kind from affidavit.registry_entries order by index')
  expect(rows.map(({ kind }) => kind)).toEqual(['epoch', 'key', 'epoch', 'epoch'])
  await next.stop()
})

test('several processes at once, some of them killed, make one row of epochs under writers', async () => {
  await write(...slots)
  const running = [launch('run'), launch('run'), launch('run')]
  await Promise.all(running.map((child) => once(child.stdout!, 'data')))
  // By rounds, not by time: however slow the machine, two are killed, and there are epochs enough.
  for (let round = 0; round < (long ? 400 : 32) || (await stored()) <= 10; round++) {
    await write(...slots.slice(0, 1 + (round % 4)))
    await clock.epoch() // a fourth one, whoever leads
    if (round % 20 === 10) {
      const victim = running.shift()!
      victim.kill('SIGKILL')
      await ended(victim)
      running.push(launch('run'))
    }
    await sleep(20)
  }
  for (const child of running) child.kill('SIGKILL')
  await Promise.all(running.map(ended))
  await clock.epoch()
  const { epochs } = await examineRegistry(database.store, clock, slots, 'newest')
  expect(epochs.length).toBeGreaterThan(10)
  expect(await stored()).toBe(epochs.length)
  for (const { epoch, index: _, kind: __, ...said } of epochs) {
    const { header, genuine } = await readEpochHead((await folder.objects.read(epochKey(epoch)))!, testSecret)
    expect(genuine).toBe(true)
    expect(decodeRegistryEntry(header.entries.at(-1)!)).toMatchObject(said)
  }
})

test('a database that is older than its objects catches up with them, and only with what it has', async () => {
  await write(...slots)
  await clock.epoch()
  const before = await database.superuser.query('select * from affidavit.registry_entries')
  await write(slots[0]!)
  await clock.epoch()
  await clock.epoch()
  const whole = await examineRegistry(database.store, clock, slots)
  const note = await database.superuser.query('select note from affidavit.registry_notes order by size desc limit 1')
  await backTo(1)
  const restored = testClock(database.store, folder.objects)
  // The heads of epoch 2 are not there yet: nothing is made in its place.
  const head = await database.superuser.query('select * from affidavit.notarized where trail = $1', [slots[0]!.trail])
  await database.superuser.query('update affidavit.notarized set size = 1 where trail = $1', [slots[0]!.trail])
  expect(await restored.epoch()).toMatchObject({ kind: 'postponed', reason: 'behind' })
  expect(restored.status.behind).toBe(true)
  await database.superuser.query('update affidavit.notarized set size = $2 where trail = $1', [
    slots[0]!.trail,
    head.rows[0]!.size,
  ])
  expect(await restored.epoch()).toMatchObject({ kind: 'made', epoch: 2 })
  expect(await restored.epoch()).toMatchObject({ kind: 'made', epoch: 3 })
  expect(await examineRegistry(database.store, restored, slots)).toEqual(whole)
  const again = await database.superuser.query('select note from affidavit.registry_notes order by size desc limit 1')
  expect(again.rows).toEqual(note.rows)
  expect(before.rows.length).toBe(1)
  await restored.stop()
})

test('a database from before the log key was succeeded learns of it from the objects', async () => {
  await write(...slots)
  await clock.epoch()
  const successor = logKey(generateKeyPairSync('ed25519').privateKey)
  const both = testClock(database.store, folder.objects, { logKeys: [successor, testLogKey] })
  expect(await both.epoch()).toMatchObject({ kind: 'made', epoch: 2 })
  await backTo(1)
  // The old key is gone for good.
  const alone = testClock(database.store, folder.objects, { logKeys: [successor] })
  expect(await alone.epoch()).toMatchObject({ kind: 'made', epoch: 2 })
  expect(await alone.epoch()).toMatchObject({ kind: 'made', epoch: 3 })
  const { rows } = await database.superuser.query('select kind from affidavit.registry_entries order by index')
  expect(rows.map(({ kind }) => kind)).toEqual(['epoch', 'key', 'epoch', 'epoch'])
  await Promise.all([both.stop(), alone.stop()])
})

/** The registry's tables as they were after an epoch; trails stay as they are. */
async function backTo(epoch: number): Promise<void> {
  const run = (sql: string) => database.superuser.query(sql, [epoch])
  await run(
    'update affidavit.registry r set epoch = $1, size = e.index + 1, at = e.at from affidavit.registry_epochs e where e.number = $1',
  )
  await run('delete from affidavit.registry_entries where index >= (select size from affidavit.registry) and $1 > 0')
  await run(`update affidavit.registry_tiles set hashes = substring(hashes for (32 * $1::int))`)
  await run('delete from affidavit.registry_notes where epoch > $1')
  await run('delete from affidavit.registry_epochs where number > $1')
  await run('delete from affidavit.slot_bodies where epoch > $1')
  await run(
    'update affidavit.slots s set size = (select size from affidavit.slot_bodies b where b.slot = s.slot and epoch <= $1 order by epoch desc limit 1)',
  )
}

test.each([
  ['an empty object', async () => Buffer.alloc(0)],
  ['an object of somebody else', () => foreign(Buffer.alloc(32, 1), 'log.example/audit/registry')],
  ['an object of another registry', () => foreign(testSecret, 'log.example/other/registry')],
])('%s in the way stops the registry, and is not replaced', async (_, make) => {
  await write(...slots)
  await clock.epoch()
  const bytes = await make()
  await folder.objects.put(epochKey(2), bytes)
  await expect(
    clock.epoch().then((outcome) => (outcome.kind === 'postponed' ? outcome.reason : Promise.reject(outcome))),
  ).resolves.toBe('behind')
  expect(await objectBytes(2)).toEqual(bytes)
  await examineRegistry(database.store, clock, slots)
})

async function foreign(secret: Uint8Array, origin: string): Promise<Buffer> {
  const { header } = await readEpochHead((await folder.objects.read(epochKey(1)))!, testSecret)
  const object = writeEpochObject(secret, {
    header: { ...header, epoch: 2, before: 1, origin, trails: 0 },
    trails: [],
    entries: (async function* () {})(),
    keyIds: async () => new Map(),
  })
  return Buffer.concat(await object.toArray())
}
