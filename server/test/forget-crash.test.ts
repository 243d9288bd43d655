// Forgetting is cut off after every single step, and gone on with by another server: nothing is lost, nothing is half
// gone, nothing is announced twice that counts twice, and the offline verifier has nothing to say.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { carriedOut, event, type Forgetter, forgetter, judged, notarized, rest } from './forget-fixture.ts'
import { type ForgetNode, forgetNode, Gone, Life } from './forget-node.ts'

let all: Forgetter
let healthy: ForgetNode
/** When everything that was announced has to be gone. */
const later = () => Date.now() + 40 * 86_400_000

beforeAll(async () => {
  all = await forgetter()
  healthy = await node()
})
afterAll(async () => {
  await healthy?.stop()
  await all?.stop()
})

const node = (life?: Life) =>
  forgetNode({ login: all.database.url, dataDir: all.server.dataDir, ...(life && { life }) })

/**
 * Runs `work` on a node that dies with its n-th step, which happens although nobody is told, for every n until it
 * survives; each time once more on a healthy one.
 *
 * @returns how many steps it takes
 */
async function cutOffEverywhere(work: (node: ForgetNode, round: number) => Promise<unknown>): Promise<number> {
  const life = new Life(1, true)
  const mortal = await node(life)
  try {
    for (let most = 1; ; life.revive(++most)) {
      const outcome = await work(mortal, most).then(
        () => 'survived',
        (error: unknown) => error,
      )
      if (outcome === 'survived') return most
      if (!(outcome instanceof Gone)) throw outcome
      await work(healthy, most)
    }
  } finally {
    await mortal.stop()
  }
}

/** A request that was approved and not begun: as if the server had died between the two. */
async function approved(path: string, body: object): Promise<string> {
  const asked = await all.api.post(path, body)
  await all.database.superuser.query(
    `update affidavit.acts set state = 'approved', decided_by = 'other', decided_name = 'Other', decided_at = clock_timestamp() where id = $1`,
    [asked.body.id],
  )
  return asked.body.id
}

const controls = async (tenant: string): Promise<string[]> =>
  (await all.api.get(`/v1/events?tenant=${tenant}&control=true&limit=1000`)).body.data.flatMap(
    ({ control }: { control?: string }) => control ?? [],
  )

test('erasures', async () => {
  const tenant = 'crash'
  const ids = new Map<number, string>()
  const steps = await cutOffEverywhere(async ({ forgetting }, round) => {
    if (!ids.has(round)) {
      await all.api.post('/v1/events', event(tenant, `person-${round}`))
      const subject = { type: 'user', id: `person-${round}` }
      ids.set(round, await approved('/v1/erasures', { tenant, subject, reason: 'r' }))
    }
    expect(await forgetting.run(ids.get(round)!)).toBe('done')
  })
  expect(steps).toBeGreaterThan(8)
  const { rows } = await all.database.superuser.query(
    `select count(*)::int as people, count(s.erased_at)::int as erased, count(k.subject)::int as keys, count(p.number)::int as personas
     from affidavit.subjects s join affidavit.tenants t on t.number = s.tenant left join keeper.subject_keys k on k.subject = s.number
       left join affidavit.personas p on p.subject = s.number where t.id = $1 and s.erased_at is not null`,
    [tenant],
  )
  expect(rows).toEqual([{ people: ids.size, erased: ids.size, keys: 0, personas: 0 }])
  const erase = (await controls(tenant)).filter((line) => line.startsWith('erase '))
  expect(new Set(erase).size).toBe(ids.size)
  expect(erase).toHaveLength(ids.size) // found again, not sealed again
  await notarized(all, tenant)
  expect(await judged(all.api, tenant, { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
})

test('the daily batch: keys of the others stay readable, no old generation is left', async () => {
  const name = 'crash-batch'
  const rounds = new Set<number>()
  const steps = await cutOffEverywhere(async ({ rotation, tenant: find }, round) => {
    if (!rounds.has(round)) {
      await all.api.post('/v1/events/batch', [event(name, `stays-${round}`), event(name, `goes-${round}`)])
      await carriedOut(all, '/v1/erasures', {
        tenant: name,
        subject: { type: 'user', id: `goes-${round}` },
        reason: 'r',
      })
    }
    rounds.add(round)
    await rotation.subjectKey(await find(name))
  })
  expect(steps).toBeGreaterThan(10)
  const { rows } = await all.database.superuser.query(
    `select array_agg(distinct b.generation) as generations, max(g.current) as current, max(g.newest) as newest,
       (select count(*)::int from keeper.rotations r where r.tenant = t.number) as under_way,
       (select count(*)::int from keeper.destroyed_keys d where d.tenant = t.number) as waiting
     from keeper.buckets b join affidavit.tenants t on t.number = b.tenant join keeper.generations g on g.tenant = t.number
     where t.id = $1 group by t.number`,
    [name],
  )
  const { current } = rows[0]
  expect(rows).toEqual([{ generations: [current], current, newest: current, under_way: 0, waiting: 0 }])
  expect(await healthy.provider.generations((await healthy.tenant(name)).keyring)).toEqual([current])
  const people = (await all.api.get(`/v1/events?tenant=${name}&q=stays&limit=1000`)).body.data
  expect(people).toHaveLength(rounds.size)
  await notarized(all, name)
  expect(await judged(all.api, name, { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
})

test('redactions, holds and the end of a tenant', async () => {
  const events = Array.from({ length: 40 }, (_, n) => event('crash-end', `person-${n}`))
  await all.api.post('/v1/events/batch', events)
  let redacted: string | undefined
  await cutOffEverywhere(async ({ forgetting }) => {
    redacted ??= await approved('/v1/redactions', { tenant: 'crash-end', seqs: [3, 5, 7], reason: 'r' })
    expect(await forgetting.run(redacted)).toBe('done')
  })
  const { body: hold } = await all.api.post('/v1/holds', { tenant: 'crash-end', reason: 'r' })
  const end = await approved('/v1/deletions', { tenant: 'crash-end', reason: 'r' })
  expect(await healthy.forgetting.run(end)).toBe('held')
  let release: string | undefined
  await cutOffEverywhere(async ({ forgetting }) => {
    release ??= await approved(`/v1/holds/${hold.id}/release`, { reason: 'r' })
    expect(await forgetting.run(release)).toBe('done')
  })
  await cutOffEverywhere(async ({ forgetting }) => {
    let outcome = await forgetting.run(end)
    while (outcome === 'later') outcome = await forgetting.run(end)
    expect(outcome).toBe('done')
  })
  expect((await controls('crash-end')).filter((line) => line === 'close deleted')).toHaveLength(1)
  const { rows } = await all.database.superuser.query(
    `select t.state, t.name, (select count(*)::int from keeper.tenant_keys k where k.tenant = t.number) as keys,
       (select count(*)::int from keeper.buckets b where b.tenant = t.number) as buckets,
       (select count(*)::int from affidavit.personas p where p.tenant = t.number) as personas,
       (select count(*)::int from affidavit.events e where e.tenant = t.number and e.facts is not null) as payloads
     from affidavit.tenants t where t.id = 'crash-end'`,
  )
  expect(rows).toEqual([{ state: 'closed', name: null, keys: 0, buckets: 0, personas: 0, payloads: 0 }])
  expect(await healthy.provider.generations((await healthy.tenant('crash-end')).keyring)).toEqual([])
  await notarized(all, 'crash-end')
  expect(await judged(all.api, 'crash-end', { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
  // Nothing follows the last entry: no event, no request, no hold, no policy. The server hears of it within ten seconds,
  // which is why an end is usually sealed half a minute after the closing.
  const tenant = 'crash-end'
  while ((await all.api.get(`/v1/tenants/${tenant}`)).body.state === 'open') await rest(250)
  const subject = { type: 'user', id: 'person-1' }
  for (const [path, body] of [
    ['/v1/events', event(tenant, 'late')],
    ['/v1/erasures', { tenant, subject, reason: 'r' }],
    ['/v1/holds', { tenant, reason: 'r' }],
    ['/v1/prunes', { tenant }],
    ['/v1/rotations', { tenant, key: 'subject' }],
  ] as const)
    expect([path, (await all.api.post(path, body)).body.code]).toEqual([path, 'tenant_closed'])
  expect((await all.api.put(`/v1/tenants/${tenant}`, { name: 'Again' })).body.code).toBe('tenant_closed')
})
