// SIGKILL of a real process after each step of a key rotation, and of an erasure, while a server goes on beside it: nothing
// becomes unreadable that shall stay, whoever is asked again finishes it, and the verifier has nothing to say.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { event, type Forgetter, forgetter, judged, notarized, rest } from './forget-fixture.ts'
import { forgetNode } from './forget-node.ts'
import { runnable } from './packed.ts'

const run = promisify(execFile)
const entry = runnable('server/test/rotation-kill-entry.ts')
const isLong = process.env.AFFIDAVIT_LONG === '1'
const tenant = 'killed'
let all: Forgetter

beforeAll(async () => {
  all = await forgetter()
})
afterAll(() => all?.stop())

/**
 * @param what `data` or `subject`: the key that is rotated; else a request to forget
 * @returns the steps of one that survived, or undefined: it was killed after `most`
 */
async function survived(what: string, most: number, of = tenant): Promise<number | undefined> {
  const args = [entry, JSON.stringify(all.database.login), all.server.dataDir, of, what, String(most)]
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
    if ((await survived(key, most)) !== undefined) return kills
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

/** Of the people whose ids begin so. */
async function names(of: string, beginning: string): Promise<(string | null)[]> {
  const { data } = (await all.api.get(`/v1/events?tenant=${of}&action=user.*&limit=1000`)).body
  const actors = data.map(({ actor }: { actor: { id: string; name: string | null } }) => actor)
  return actors.flatMap(({ id, name }: { id: string; name: string | null }) => (id.startsWith(beginning) ? [name] : []))
}

test('of the erasure of a person', async () => {
  const of = 'killed-erasing'
  const next = await forgetNode({ login: all.database.login, dataDir: all.server.dataDir })
  onTestFinished(() => next.stop())
  const ids: string[] = []
  let kills = 0
  // A person of their own for each kill: what was begun before takes fewer steps.
  for (let most = 1, isOver = false; !isOver; most += isLong ? 1 : 4) {
    await all.api.post('/v1/events/batch', [event(of, `goes-${most}`), event(of, `stays-${most}`)])
    const subject = { type: 'user', id: `goes-${most}` }
    const { id } = (await all.api.post('/v1/erasures', { tenant: of, subject, reason: 'r' })).body
    await all.database.superuser.query(
      `update affidavit.acts set state = 'approved', decided_by = 'other', decided_name = 'Other', decided_at = clock_timestamp() where id = $1`,
      [id],
    )
    ids.push(id)
    isOver = (await survived(id, most, of)) !== undefined
    if (isOver) continue
    kills++
    // The next start, whatever was left; the locks of the one that was killed are held until PostgreSQL notices.
    while ((await next.forgetting.run(id)) === 'later') await rest(20)
  }
  expect(kills).toBeGreaterThan(isLong ? 8 : 2)
  for (const id of ids) expect((await all.api.get(`/v1/erasures/${id}`)).body.state).toBe('done')
  const { data } = (await all.api.get(`/v1/events?tenant=${of}&control=true&limit=1000`)).body
  const announced = data.flatMap(({ control = '' }: { control?: string }) =>
    control.startsWith('erase ') ? [control] : [],
  )
  expect([announced.length, new Set(announced).size]).toEqual([ids.length, ids.length])
  // Another process erased them: the server looks again after some seconds.
  await expect.poll(() => names(of, 'goes'), { timeout: 60_000 }).toEqual(ids.map(() => null))
  expect((await names(of, 'stays')).filter((name) => name?.startsWith('Name of stays'))).toHaveLength(ids.length)
  const { rows } = await all.database.superuser.query(
    `select count(*)::int as erased, count(k.subject)::int as keys, count(p.number)::int as personas
       from affidavit.subjects s join affidavit.tenants t on t.number = s.tenant left join keeper.subject_keys k on k.subject = s.number
         left join affidavit.personas p on p.subject = s.number where t.id = $1 and s.erased_at is not null`,
    [of],
  )
  expect(rows).toEqual([{ erased: ids.length, keys: 0, personas: 0 }])
  await notarized(all, of)
  const later = Date.now() + 40 * 86_400_000
  expect(await judged(all.api, of, { now: later })).toMatchObject({ outcome: 'held', findings: [] })
}, 120_000)
