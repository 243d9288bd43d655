// Forgetting over time: retention of events that are weeks old, restored backups, a hostile administrator of the
// database, keys that were rotated. The offline verifier judges.
import type { Control } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { opening } from '../src/assembly/opening.ts'
import { replayForgetting } from '../src/erase/replay.ts'
import { trailName } from '../src/keys/log-key.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { Personas } from '../src/keys/personas.ts'
import { controlEntry } from '../src/seal/control.ts'
import { carriedOut, event, type Forgetter, forgetter, judged, notarized } from './forget-fixture.ts'
import { type ForgetNode, forgetNode } from './forget-node.ts'
import { Api } from './http-api.ts'
import { dayMs, sealedDays } from './sealed-days.ts'
import { startedServer } from './started-server.ts'

const later = () => Date.now() + 40 * dayMs

describe('keys and backups', () => {
  let all: Forgetter
  let node: ForgetNode

  beforeAll(async () => {
    all = await forgetter()
    node = await forgetNode({ login: all.database.url, dataDir: all.server.dataDir })
  })
  afterAll(async () => {
    await node?.stop()
    await all?.stop()
  })

  const sql = async (text: string, values: unknown[] = []) => (await all.database.superuser.query(text, values)).rows
  /** What the tables of people hold for a tenant: an old backup in the hands of an administrator. */
  const tables = ['keeper.buckets', 'keeper.subject_keys', 'affidavit.personas', 'affidavit.persona_tokens'] as const
  const backup = async (tenant: number) => {
    for (const table of tables) {
      await sql(`drop table if exists public.old_${table.split('.')[1]}`)
      await sql(`create table public.old_${table.split('.')[1]} as select * from ${table} where tenant = ${tenant}`)
    }
  }
  const bringBack = async (subject: number) => {
    await sql(
      `insert into keeper.subject_keys select * from public.old_subject_keys where subject = ${subject} on conflict do nothing`,
    )
    await sql(
      `insert into affidavit.personas overriding system value select * from public.old_personas where subject = ${subject}`,
    )
  }
  const namesShown = async (tenant: string) =>
    (await all.api.get(`/v1/events?tenant=${tenant}&limit=1000&action=user.*`)).body.data.map(
      ({ actor }: { actor?: { name: string | null } }) => actor?.name,
    )

  test('rows of an erased person from an old backup open nothing after the daily batch', async () => {
    const { api } = all
    await api.post('/v1/events/batch', [event('hostile', 'anna'), event('hostile', 'bob')])
    const tenant = await node.tenant('hostile')
    await backup(tenant.number)
    const act = await carriedOut(all, '/v1/erasures', {
      tenant: 'hostile',
      subject: { type: 'user', id: 'anna' },
      reason: 'r',
    })
    const [{ number }] = await sql(
      'select number from affidavit.subjects where tenant = $1 and erased_at is not null',
      [tenant.number],
    )
    const { keyring } = tenant
    const read = async () => {
      const rows = await sql('select number from affidavit.personas where subject = $1', [number])
      const personas = new Personas({ keeper: node.database.pool('keeper'), provider: node.provider })
      const readings = await personas.open(
        tenant,
        rows.map((row) => Number(row.number)),
      )
      return [...readings.values()].map((one) => (typeof one === 'object' ? one.content : one))
    }
    // Before the batch, the rows alone bring her back: that is what the batch is for.
    await bringBack(number)
    expect(await read()).toEqual([expect.stringContaining('Name of anna')])
    await sql('delete from keeper.subject_keys where subject = $1', [number])
    await sql('delete from affidavit.personas where subject = $1', [number])

    const rotated = await node.rotation.subjectKey(tenant)
    expect(rotated).toMatchObject({ destroyed: [0], renewed: 1, moved: 0, generation: 1 })
    expect(await node.rotation.subjectKey(tenant)).toBeUndefined()
    expect(await node.provider.generations(keyring)).toEqual([1])
    await bringBack(number)
    expect(await read()).toEqual(['tampered']) // her old row is no row of the new bucket
    expect(await namesShown('hostile')).toEqual(['Name of bob', null])
    // Not with the old bucket either: what wrapped it is gone from the key folder.
    await sql(
      'update keeper.buckets b set wrapped = o.wrapped, generation = o.generation from public.old_buckets o where o.number = b.number',
    )
    expect(await read()).toEqual(['erased'])
    expect(act.state).toBe('done')
  })

  test('a backup from before: journals bring the living up to date, the trail forgets the others again', async () => {
    const { api } = all
    await api.post(
      '/v1/events/batch',
      ['anna', 'bob', 'carl'].map((person) => event('restore', person)),
    )
    const tenant = await node.tenant('restore')
    await backup(tenant.number)
    for (const person of ['anna', 'bob'])
      await carriedOut(all, '/v1/erasures', { tenant: 'restore', subject: { type: 'user', id: person }, reason: 'r' })
    await carriedOut(all, '/v1/redactions', { tenant: 'restore', seqs: [3], reason: 'r' })
    await node.rotation.subjectKey(tenant)
    await node.rotation.subjectKey(tenant, true)
    // The people's tables and payloads as they were; the trail as it is.
    await sql('delete from keeper.subject_keys where tenant = $1', [tenant.number])
    await sql('delete from affidavit.personas where tenant = $1', [tenant.number])
    await sql(
      'update keeper.buckets b set wrapped = o.wrapped, generation = o.generation, renewed = o.renewed from public.old_buckets o where o.number = b.number',
    )
    await sql('insert into keeper.subject_keys select * from public.old_subject_keys')
    await sql('insert into affidavit.personas overriding system value select * from public.old_personas')
    await sql('insert into affidavit.persona_tokens select * from public.old_persona_tokens on conflict do nothing')
    await sql('update keeper.generations set current = 0, newest = 0 where tenant = $1', [tenant.number])
    await sql(`update affidavit.subjects set erased_at = null where tenant = $1`, [tenant.number])

    const parts = {
      retention: node.database.pool('retention'),
      keeper: node.database.pool('keeper'),
      provider: node.provider,
      objects: node.objects,
    }
    const replayed = await replayForgetting(parts)
    expect(replayed).toMatchObject({ subjects: 2, generations: 2 })
    expect(await replayForgetting(parts)).toMatchObject({ subjects: 0, generations: 0 })
    expect((await namesShown('restore')).filter((name: string | null) => name !== undefined && name !== null)).toEqual(
      [],
    )
    expect(
      await sql(
        'select count(*)::int as personas from affidavit.personas where tenant = $1 and subject in (select number from affidavit.subjects where erased_at is not null)',
        [tenant.number],
      ),
    ).toEqual([{ personas: 0 }])
    // Carl's events were redacted; he himself is alive, and his next event finds his key.
    await api.post('/v1/events', event('restore', 'carl'))
    expect((await namesShown('restore'))[0]).toBe('Name of carl')
    await notarized(all, 'restore')
    expect(await judged(api, 'restore', { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
  })

  test('rotating over HTTP: old and new confidential values stay readable, the trail tells', async () => {
    const { api } = all
    await api.put('/v1/tenants/rotates', { policy: { confidential: ['/changes'] } })
    const secret = (n: number) => event('rotates', 'anna', { changes: [{ path: '/salary', before: n, after: n + 1 }] })
    await api.post('/v1/events', secret(1))
    expect(await api.post('/v1/rotations', { tenant: 'rotates', key: 'data' })).toMatchObject({
      status: 200,
      body: { generation: 2, destroyed: [] },
    })
    await api.post('/v1/events', secret(2))
    expect(await api.post('/v1/rotations', { tenant: 'rotates', key: 'subject' })).toMatchObject({
      status: 200,
      body: { generation: 2, destroyed: [1], buckets: 1 },
    })
    await api.post('/v1/events', secret(3))
    const found = (await api.get('/v1/events?tenant=rotates&action=user.*')).body.data
    expect(found.map(({ changes }: { changes: { before: number }[] }) => changes[0]?.before)).toEqual([3, 2, 1])
    expect(found[2].actor.name).toBe('Name of anna')
    const lines = (await api.get('/v1/events?tenant=rotates&control=true&limit=100')).body.data.flatMap(
      ({ control }: { control?: string }) => control ?? [],
    )
    expect(lines.slice(0, 3)).toEqual(['keys subject destroyed 1', 'keys subject made 2', 'keys data made 2'])
    await notarized(all, 'rotates')
    expect((await judged(api, 'rotates')).outcome).toBe('held')
  })

  test('a full generation gets no further buckets, and forgetting one of the new people leaves it alone', async () => {
    const { api } = all
    await api.post('/v1/events', event('spread', 'early'))
    const tenant = await node.tenant('spread')
    // Fifteen more buckets, full. Nothing here may open them: their bytes are none.
    await sql(
      `insert into keeper.buckets (tenant, generation, subjects, wrapped) select $1, 0, 1024, '\\x00' from generate_series(1, 15)`,
      [tenant.number],
    )
    await sql('update keeper.buckets set subjects = 1024 where tenant = $1', [tenant.number])
    await node.rotation.spread()
    await node.rotation.spread()
    expect(await node.provider.generations(tenant.keyring)).toEqual([0, 1])
    await api.post('/v1/events', event('spread', 'late'))
    const subject = { type: 'user', id: 'late' }
    await carriedOut(all, '/v1/erasures', { tenant: 'spread', subject, reason: 'r' })
    expect(await node.rotation.subjectKey(tenant)).toMatchObject({
      destroyed: [1],
      renewed: 1,
      moved: 0,
      generation: 2,
    })
    expect(await node.provider.generations(tenant.keyring)).toEqual([0, 2])
    expect(await namesShown('spread')).toEqual([null, 'Name of early'])
  })

  test('what was asked for before a trail was lost is announced in the one that continues it', async () => {
    const { api } = all
    await api.post('/v1/events', event('continued', 'anna'))
    const tenant = await node.tenant('continued')
    const ids: string[] = []
    for (const [path, body] of [
      ['/v1/erasures', { subject: { type: 'user', id: 'anna' } }],
      ['/v1/redactions', { seqs: [1] }],
    ] as const) {
      const asked = await api.post(path, { tenant: 'continued', reason: 'r', ...body })
      ids.push(asked.body.id)
    }
    await sql(
      `update affidavit.acts set state = 'approved', decided_by = 'x', decided_name = 'x', decided_at = now() where id = any ($1)`,
      [ids],
    )
    const trail = tenant.trail.id.slice(0, 8) + 'ab'.repeat(12)
    await sql('select affidavit.continue_trail($1, $2::uuid, $3::smallint)', [tenant.number, trail, tenant.trail.shard])
    for (const id of ids) expect(await node.forgetting.run(id)).toBe('done')
    expect(await Promise.all(ids.map(async (id) => (await api.get(`/v1/approvals/${id}`)).body.state))).toEqual([
      'done',
      'rejected',
    ])
    const entries = await sql(
      `select e.control from affidavit.events e join affidavit.trails t on t.number = e.trail where t.id = $1::uuid and e.control is not null order by e.seq`,
      [trail],
    )
    expect(entries.map(({ control }) => control.split(' ')[0])).toEqual(['open', 'erase'])
  })

  test('several servers at once do it once', async () => {
    const { api } = all
    const others = await Promise.all(
      [1, 2].map(() => forgetNode({ login: all.database.url, dataDir: all.server.dataDir })),
    )
    const nodes = [node, ...others]
    await api.post(
      '/v1/events/batch',
      ['anna', 'bob', 'carl', 'dora'].map((person) => event('several', person)),
    )
    const ids: string[] = []
    for (const id of ['anna', 'bob', 'carl']) {
      const asked = await api.post('/v1/erasures', { tenant: 'several', subject: { type: 'user', id }, reason: 'r' })
      await sql(
        `update affidavit.acts set state = 'approved', decided_by = 'x', decided_name = 'x', decided_at = now() where id = $1`,
        [asked.body.id],
      )
      ids.push(asked.body.id)
    }
    await Promise.all(nodes.flatMap(({ forgetting }) => ids.map((id) => forgetting.run(id))))
    const tenant = await node.tenant('several')
    await Promise.all(nodes.map(({ rotation }) => rotation.subjectKey(tenant)))
    const lines = (await api.get('/v1/events?tenant=several&control=true&limit=100')).body.data.flatMap(
      ({ control }: { control?: string }) => control ?? [],
    )
    const erased = lines.filter((line: string) => line.startsWith('erase'))
    expect([erased.length, new Set(erased).size]).toEqual([3, 3])
    expect(await node.provider.generations(tenant.keyring)).toEqual([1])
    expect(await namesShown('several')).toEqual(['Name of dora', null, null, null])
    await notarized(all, 'several')
    expect(await judged(api, 'several', { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
    for (const other of others) await other.stop()
  })

  test('truncation: entries go, their bundles answer 404, later ones verify from what is restated', async () => {
    const { api } = all
    const numbered = (from: number, count: number) =>
      Array.from({ length: count }, (_, n) => event('short', `p${(from + n) % 7}`, { metadata: { n: from + n } }))
    await api.post('/v1/events/batch', numbered(0, 600))
    await carriedOut(all, '/v1/erasures', { tenant: 'short', subject: { type: 'user', id: 'p3' }, reason: 'r' })
    await api.post('/v1/events/batch', numbered(600, 300))
    await notarized(all, 'short')
    expect(await api.post('/v1/truncations', { tenant: 'short', size: 1280, reason: 'r' })).toMatchObject({
      status: 409,
    })
    const act = await carriedOut(all, '/v1/truncations', { tenant: 'short', size: 512, reason: 'r' })
    expect(act).toMatchObject({ state: 'done' })
    const size = await notarized(all, 'short')
    expect((await api.get('/v1/trails/short')).body).toMatchObject({ minimum: 512, withheld: [] })
    expect((await api.get('/v1/trails/short/tile/entries/001')).status).toBe(404)
    expect((await api.get('/v1/trails/short/tile/entries/002')).status).toBe(200)
    expect((await api.get('/v1/trails/short/tile/0/001')).status).toBe(200)
    const lines = (await api.get(`/v1/trails/short/content?from=500&to=${size}`)).body.toString().trim().split('\n')
    expect(lines).toHaveLength(size - 500)
    expect(JSON.parse(lines[0])).toEqual({ seq: 500 })
    expect(
      (await api.get('/v1/events?tenant=short&limit=1000&action=user.*')).body.data.at(-1).seq,
    ).toBeGreaterThanOrEqual(512)
    const found = (await api.get('/v1/events?tenant=short&limit=1&order=asc&action=user.*')).body.data[0]
    expect((await api.get(`/v1/events/${found.id}/proof?tenant=short`)).status).toBe(200)
    const pack = await api.get(`/v1/trails/short/pack?from=512`)
    expect(pack.status).toBe(200)
    expect(await judged(api, 'short', { from: 512, now: later() })).toMatchObject({ outcome: 'held', findings: [] })
  })
})

describe('retention', () => {
  test('payloads older than was promised go, category by category; what a hold covers goes after its release', async () => {
    const days = await sealedDays()
    const now = Date.now()
    const tenant = await days.tenant('ret')
    await days.database.superuser.query('update affidavit.trails set shard = 0')
    const { logKey, logName, recoveryPublicKey } = await openKeys({
      keeper: days.database.store.pool('keeper'),
      folder: days.keysFolder,
    })
    const keys = { logKey, logName, recoveryPublicKey } as Parameters<typeof opening>[0]
    expect(trailName(logName, tenant.trail.id)).toContain(tenant.trail.id)
    const control = (at: number, entry: Control) =>
      days.sealRaw(at, [controlEntry({ ...tenant.trail, shard: 0 }, 0, entry, {}, at)])
    const at = (ago: number) => now - ago * dayMs
    await days.sealRaw(at(60), [opening(keys, { ...tenant.trail, shard: 0 }, 0, null)])
    await control(at(60), { kind: 'policy', about: 'retention', category: 'all', retention: 30, from: 'new' })
    await control(at(60), { kind: 'policy', about: 'retention', category: 'billing', retention: 50, from: 'new' })
    const two = [event('ret', 'anna'), event('ret', 'bob', { action: 'invoice.paid', category: 'billing' })]
    for (const ago of [55, 40, 20]) await days.seal('ret', at(ago), two)
    await days.tidy()
    await days.database.superuser.query(
      `update affidavit.shards set position = (select count(*) from affidavit.events), sealed_at = (select max(sealed_at) from affidavit.events) where shard = 0`,
    )
    const server = await startedServer(days.database.url, { AFFIDAVIT_KEYS_DIR: days.keysFolder })
    try {
      const api = await Api.of(server.url, server.key)
      const made = await api.post('/v1/keys', { name: 'Second', scopes: ['forget:approve'] })
      const all = { api, second: api.with(made.body.key), database: days.database }
      const payloads = async () =>
        (
          await days.database.superuser.query(
            'select seq from affidavit.events where facts is not null and control is null and tenant = (select number from affidavit.tenants where id = $$ret$$) order by seq',
          )
        ).rows
          .map(({ seq }) => Number(seq))
          .filter((seq) => seq < 9)
      await api.post('/v1/events', event('ret', 'carl'))
      const hold = await api.post('/v1/holds', { tenant: 'ret', from: 3, to: 4, reason: 'case' })
      expect(await payloads()).toEqual([3, 4, 5, 6, 7, 8])
      const first = await api.post('/v1/prunes', { tenant: 'ret' })
      // 55 days: anna is held; bob's invoice is kept 50 days. 40 days: anna goes.
      expect(first.body.data).toEqual([
        { category: 'authorization', before: 6, control_seq: expect.any(Number) },
        { category: 'billing', before: 5, control_seq: expect.any(Number) },
      ])
      expect(await payloads()).toEqual([3, 6, 7, 8])
      expect((await api.post('/v1/prunes', { tenant: 'ret' })).body.data).toEqual([])
      expect((await api.get('/v1/holds?tenant=ret')).body.retention_waits).toBe(true)
      await notarized(all, 'ret')
      expect(await judged(api, 'ret', { now: Date.now() + 1_000 })).toMatchObject({ outcome: 'held', findings: [] })
      await carriedOut(all, `/v1/holds/${hold.body.id}/release`, { reason: 'closed' })
      const second = await api.post('/v1/prunes', { tenant: 'ret' })
      expect(second.body.data.map(({ category }: { category: string }) => category)).toEqual(['authorization'])
      expect((await api.get('/v1/holds?tenant=ret')).body.retention_waits).toBe(false)
      expect(await payloads()).toEqual([6, 7, 8])
      await notarized(all, 'ret')
      expect(await judged(api, 'ret', { now: later() })).toMatchObject({ outcome: 'held', findings: [] })
      const shown = (await api.get('/v1/events?tenant=ret&order=asc&limit=3&action=user.*')).body.data
      expect(shown[0]).toMatchObject({ redacted: true, facts: null, action: 'user.role.updated' })

      // A shorter retention is not one principal's to choose, and reaches back only after thirty days' notice.
      const shorten = await api.put('/v1/tenants/ret', { policy: { retention_days: 5 } })
      expect(shorten).toMatchObject({
        status: 409,
        body: { code: 'needs_approval', pointer: '/policy/retention_days' },
      })
      const asked = { tenant: 'ret', retention_days: 5, from: 'notice', reason: 'less is more' }
      expect((await carriedOut(all, '/v1/retentions', asked)).state).toBe('done')
      expect((await api.get('/v1/tenants/ret')).body.policy.retention_days).toBe(5)
      expect((await api.post('/v1/prunes', { tenant: 'ret' })).body.data).toEqual([])
      await notarized(all, 'ret')
      expect((await judged(api, 'ret', { now: later() })).outcome).toBe('held')
    } finally {
      await server.stop()
      await days.drop()
    }
  })
})
