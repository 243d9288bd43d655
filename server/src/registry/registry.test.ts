import { setTimeout as sleep } from 'node:timers/promises'
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
} from '../../test/registry-fixture.ts'
import type { Database } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'
import { lock_class, type RegistryClock } from './registry.ts'

let database: TestDatabase
let folder: Awaited<ReturnType<typeof temporaryObjects>>
let slots: TestSlot[]
const clocks: RegistryClock[] = []

beforeEach(async () => {
  database = await freshDatabase()
  folder = await temporaryObjects()
  slots = await makeSlots(database.superuser, 1)
  await seal(database.superuser, [slots[0]!.trail])
  const notary = testNotary(database.store)
  await notary.round()
  await notary.stop()
})
afterEach(async () => {
  await Promise.all(clocks.splice(0).map((clock) => clock.stop()))
  await database.drop()
  await folder.remove()
})

function started(objects: Objects = folder.objects): RegistryClock {
  const clock = testClock(database.store, objects, { interval_ms: 100 })
  clocks.push(clock)
  clock.start()
  return clock
}

async function until(what: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; !what(); await sleep(50))
    if (Date.now() > end) throw new Error('it did not come')
}

test('one of several leads; when it goes, another does', async () => {
  const [one, two] = [started(), started()]
  await until(() => one.status.leads !== two.status.leads && one.status.epoch > 2 && two.status.epoch > 2)
  const [leader, other] = one.status.leads ? [one, two] : [two, one]
  expect(other.status.duration_ms).toBeNull()
  await leader.stop()
  const { epoch } = leader.status
  await until(() => other.status.leads && other.status.epoch > epoch + 1)
  await other.stop()
  await examineRegistry(database.store, other, slots)
})

test('one that does not lead looks once in an interval, however late the next epoch is', async () => {
  const leader = await database.connect()
  await leader.query('select pg_advisory_lock($1, 0)', [lock_class])
  let asked = 0
  const store: Database = {
    ...database.store,
    dedicated: async (role) => {
      const session = await database.store.dedicated(role)
      const query = session.query.bind(session) as (...of: unknown[]) => unknown
      return Object.assign(session, { query: (...of: unknown[]) => [asked++, query(...of)][1] })
    },
  }
  const clock = testClock(store, folder.objects, { interval_ms: 100 })
  clocks.push(clock)
  const began = performance.now()
  clock.start()
  await until(() => asked > 5)
  expect(performance.now() - began).toBeGreaterThan(5 * 95) // timers may be early by a millisecond
})

test('objects that are away make the registry late, and nothing else; when they are back it goes on', async () => {
  let away = false
  // A bucket fails with the codes of a database that is away, and is not to be taken for one.
  const refused = Object.assign(new Error('the bucket is away'), { code: 'ECONNREFUSED' })
  const failing: Objects = {
    ...folder.objects,
    stat: (key) => folder.objects.stat(key),
    read: (key, from, to) => folder.objects.read(key, from, to),
    put: (key, content) => (away ? Promise.reject(refused) : folder.objects.put(key, content)),
  }
  const clock = started(failing)
  await until(() => clock.status.epoch > 0)
  away = true
  await until(() => clock.status.lastError === 'the bucket is away')
  expect(clock.status).toMatchObject({ late: false, behind: false, leads: true })
  await database.superuser.query(
    `with aged as (update affidavit.registry set at = at - interval '1 hour')
      update affidavit.registry_epochs set at = at - interval '1 hour'`,
  )
  await until(() => clock.status.late)
  expect(clock.status.age_s).toBeGreaterThan(3_500)
  const { epoch } = clock.status
  away = false
  await until(() => clock.status.epoch > epoch + 1 && !clock.status.late)
  expect(clock.status).toMatchObject({ lastError: null, behind: false })
})
