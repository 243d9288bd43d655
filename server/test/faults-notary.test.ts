// SIGKILL at each step of notarizing: what is stored is always the tree of the leaf hashes, signed, and the next notary
// goes on from there. AFFIDAVIT_LONG=1 kills at every step, otherwise at the last ones.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { examine, makeTrails, seal, testLogKey, testLogName } from '../src/notarize/fixture.ts'
import { Notary } from '../src/notarize/notary.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { runnable } from './packed.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const entry = runnable('server/test/notary-process-entry.ts')
let database: TestDatabase

beforeEach(async () => {
  database = await freshDatabase()
})
afterEach(() => database.drop())

/** One round of a notary that dies at a step. @returns how many steps it took, or undefined if it died */
async function roundUntil(step: number): Promise<number | undefined> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [entry, database.url, String(step)])
    return Number(stdout)
  } catch (error) {
    const { signal } = error as { signal?: string }
    if (signal !== 'SIGKILL') throw error
    return undefined
  }
}

async function catchUp(): Promise<void> {
  const notary = new Notary({ store: database.store, log: silent, logKey: testLogKey, logName: testLogName })
  // The session of one that was killed holds its locks until PostgreSQL notices.
  for (let left = 1; left > 0; await sleep(left && 20)) {
    await notary.round()
    const { rows } = await database.superuser.query<{ left: number }>(
      'select sum(h.size - coalesce(n.size, 0))::int as left from affidavit.heads h left join affidavit.notarized n using (trail)',
    )
    left = rows[0]!.left
  }
  expect(notary.status).toMatchObject({ stopped: [], missing: 0, lastError: null })
  await notary.stop()
}

test('SIGKILL at each step of a round: the next notary goes on, and every checkpoint is that of the leaves', async () => {
  const trails = await makeTrails(database.superuser, 4, 1)
  const [large, small, other, idle] = trails as [number, number, number, number]
  /** Completes a tile of one trail, begins one of another, and every other round meets a trail for the first time. */
  const sealSome = (round: number) =>
    seal(database.superuser, [
      ...Array.from({ length: 260 }, () => large),
      ...Array.from({ length: 90 }, () => small),
      ...(round > 1 ? [other, other] : []),
    ])
  await seal(database.superuser, [idle, large, large])
  await catchUp()
  await sealSome(0)
  const steps = (await roundUntil(Number.POSITIVE_INFINITY))!
  expect(steps).toBeGreaterThan(8)
  const notarized = async () => new Map((await examine(database.superuser)).map(({ trail, size }) => [trail, size]))
  let before = await notarized()
  let grown = 0
  for (let step = long ? 1 : steps - 3; ; step++) {
    await sealSome(step)
    const survived = (await roundUntil(step)) !== undefined
    const after = await notarized()
    for (const [trail, size] of before) expect(after.get(trail)).toBeGreaterThanOrEqual(size)
    if (!survived && after.get(large)! > before.get(large)!) grown++
    await catchUp()
    const examined = await examine(database.superuser)
    expect(examined.filter(({ size, sealed }) => size !== sealed)).toEqual([])
    before = await notarized()
    if (survived) break
  }
  // Killed after the commit it had happened, and only then.
  expect(grown).toBe(1)
})
