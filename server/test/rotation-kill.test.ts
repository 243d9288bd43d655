// SIGKILL of a real process after each step of a key rotation, while a server goes on beside it: nothing becomes unreadable,
// whoever is asked again finishes it, and the verifier has nothing to say.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { event, type Forgetter, forgetter, judged, notarized } from './forget-fixture.ts'

const run = promisify(execFile)
const entry = join(import.meta.dirname, 'rotation-kill-entry.ts')
const isLong = process.env.AFFIDAVIT_LONG === '1'
const tenant = 'killed'
let all: Forgetter

beforeAll(async () => {
  all = await forgetter()
})
afterAll(() => all?.stop())

/** @returns the steps of a rotation that survived, or undefined: it was killed after `most` */
async function rotated(key: 'data' | 'subject', most: number): Promise<number | undefined> {
  const args = [entry, JSON.stringify(all.database.login), all.server.dataDir, tenant, key, String(most)]
  try {
    return Number((await run(process.execPath, args, { timeout: 60_000 })).stdout)
  } catch (error) {
    const { signal, stderr } = error as { signal?: string; stderr?: string }
    if (signal !== 'SIGKILL') throw new Error(`it ended otherwise: ${signal} ${stderr}`)
    return undefined
  }
}

let sent = 0
/** An event about one more person, with a confidential value. */
async function send(): Promise<void> {
  const more = { changes: [{ path: '/salary', before: 1, after: sent }] }
  const { status } = await all.api.post('/v1/events', event(tenant, `person-${sent++}`, more))
  expect(status).toBe(201)
}

/** Kills after each step in turn, or after every `stride`-th. @returns how many times */
async function killedEverywhere(key: 'data' | 'subject', stride: number): Promise<number> {
  for (let most = 1, kills = 0; ; most += stride, kills++) {
    await send()
    if ((await rotated(key, most)) !== undefined) return kills
  }
}

async function everythingIsReadable(): Promise<void> {
  const { data } = (await all.api.get(`/v1/events?tenant=${tenant}&action=user.*&limit=1000`)).body
  expect(data).toHaveLength(sent)
  for (const { actor, changes } of data)
    expect([actor.name, changes[0].path]).toEqual([expect.stringMatching(/^Name of person-/), '/salary'])
  await notarized(all, tenant)
  expect(await judged(all.api, tenant)).toMatchObject({ outcome: 'held', findings: [] })
}

test('of the data key', async () => {
  await all.api.put(`/v1/tenants/${tenant}`, { policy: { confidential: ['/changes'] } })
  expect(await killedEverywhere('data', 1)).toBeGreaterThan(2)
  const { status, body } = await all.api.post('/v1/rotations', { tenant, key: 'data' })
  expect([status, body.key]).toEqual([200, 'data'])
  await everythingIsReadable()
}, 120_000)

test('of the key that wraps the keys of people', async () => {
  expect(await killedEverywhere('subject', isLong ? 1 : 3)).toBeGreaterThan(3)
  const { status } = await all.api.post('/v1/rotations', { tenant, key: 'subject' })
  expect(status).toBe(200)
  await everythingIsReadable()
  const { rows } = await all.database.superuser.query(
    `select count(distinct b.generation)::int as generations, (select count(*)::int from keeper.rotations) as under_way
       from keeper.buckets b join affidavit.tenants t on t.number = b.tenant where t.id = $1`,
    [tenant],
  )
  expect(rows).toEqual([{ generations: 1, under_way: 0 }])
}, 120_000)
