// With our own conditions wrong or gone, row-level security alone must keep a tenant from another's events.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, dayOf, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { everything } from '../filter/filter.ts'
import { find, gather, type Plan, probe, requests, scan, type Window } from '../filter/postgres.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Queryable } from '../store/database.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { readEntries } from './entries.ts'
import { Events } from './events.ts'
import { Proofs } from './proof.ts'
import { readRows } from './read.ts'
import { resolve } from './resolve.ts'
import { readChain, readSpans, readTrails, type Span, type Trail } from './spans.ts'

let world: SealedDays
let ours: Tenant<TenantKeys>
let theirs: Tenant<TenantKeys>
let trail: Trail
let spans: readonly Span[]
let plan: Plan
let theirId: string
const now = Date.now()

const filter = { ...everything, actor: ['u1'], action: ['user.login'], request_id: ['r-1'] }
const event = {
  action: 'user.login',
  actor: { id: 'u1', email: 'u1@example.com' },
  context: { request_id: 'r-1', session_id: 's' },
}

beforeAll(async () => {
  world = await sealedDays()
  ours = await world.tenant('ours')
  theirs = await world.tenant('theirs')
  for (const at of [now - dayMs, now]) {
    await world.seal('ours', at, [{ action: 'our.own', actor: { id: 'x' } }])
    theirId = (await world.seal('theirs', at, [event, event]))[0]!
  }
  await world.tidy()
  await as(theirs.number, async (session) => {
    trail = (await readTrails(session, theirs.number))[0]!
    spans = await readSpans(session, trail)
    const resolution = await resolve(session, theirs.number, theirs.keys, filter)
    if (resolution === 'nothing') throw new Error('the other tenant has these events')
    plan = resolution.plan
  })
})
afterAll(() => world.drop())

const as = <Result>(tenant: number, work: (session: Queryable) => Promise<Result>) =>
  world.database.store.pool('reader').asTenant(tenant, work)

const window = (): Window => ({
  tenant: theirs.number,
  trail: trail.number,
  low: 0,
  high: trail.size,
  firstDay: dayOf(now - 3 * dayMs),
  lastDay: dayOf(now),
})

const reader = (tenant: Tenant<TenantKeys>) => ({ tenant, operator: false, confidential: true })

describe('a search with the conditions of another tenant', () => {
  it.each([
    ['probe', probe],
    ['gather', gather],
    ['scan', scan],
    ['requests', requests],
    ['find', find],
  ])('%s finds nothing', async (_name, method) => {
    const query = method(plan, window(), { order: 'desc', limit: 10 })
    const asThem = await as(theirs.number, (session) => session.query(query.text, query.values))
    const asUs = await as(ours.number, (session) => session.query(query.text, query.values))
    expect(asThem.rows.length).toBeGreaterThan(0)
    expect(asUs.rows).toEqual([])
  })

  it('reads nothing', async () => {
    const read = (tenant: number) =>
      as(tenant, async (session) => ({
        rows: (await readRows(session, reader(theirs), trail, spans, [0, 1])).rows,
        entries: await readEntries(session, reader(theirs), world.personas, trail, spans, [0, 1]),
        trails: await readTrails(session, theirs.number),
        days: await readChain(session, trail.number),
        operator: (
          await session.query('select * from affidavit.operator_commitments($1, $2, $3, $4)', [
            trail.number,
            [0, 1],
            '2000-01-01',
            dayOf(now),
          ])
        ).rows,
      }))
    const all = await read(theirs.number)
    expect([all.rows.length, all.entries.length, all.trails.length, all.operator.length]).toEqual([2, 2, 1, 2])
    expect(all.days.length).toBeGreaterThan(0)
    expect(await read(ours.number)).toEqual({ rows: [], entries: [], trails: [], days: [], operator: [] })
  })
})

describe('without any condition', () => {
  const tables = [
    'events',
    'event_ids',
    'subjects',
    'personas',
    'persona_tokens',
    'actions',
    'days',
    'trails',
    'tenants',
  ]

  it.each(tables)('%s shows a tenant its own rows, and nothing to nobody', async (table) => {
    const column = table === 'tenants' ? 'number' : 'tenant'
    // Ids say their trail, and a tenant's trails are all that it sees of trails.
    const from = table === 'event_ids' ? `event_ids i left join affidavit.trails t on t.number = i.trail` : table
    const text = `select distinct ${column} as tenant from affidavit.${from}`
    const { rows } = await as(theirs.number, (session) => session.query<{ tenant: number }>(text))
    expect(rows).toEqual([{ tenant: theirs.number }])
    expect((await world.database.store.pool('reader').query(text)).rows).toEqual([])
  })

  it('a search needs a tenant', async () => {
    const query = find(plan, window(), { order: 'desc', limit: 10 })
    await expect(world.database.store.pool('reader').query(query.text, query.values)).rejects.toMatchObject({
      code: 'AF010',
    })
  })

  it('a reader cannot name the operator part, nor read a partition past the policy', async () => {
    await expect(
      as(theirs.number, (session) => session.query('select operator from affidavit.events')),
    ).rejects.toMatchObject({ code: '42501' })
    const partition = `affidavit.events_${dayOf(now).replaceAll('-', '')}`
    await expect(as(theirs.number, (session) => session.query(`select seq from ${partition}`))).rejects.toMatchObject({
      code: '42501',
    })
  })
})

describe('the API', () => {
  it('knows no id and no text of another tenant', async () => {
    const options = { store: world.database.store, personas: world.personas }
    expect(await new Events(options).byId(reader(theirs), theirId)).toBeDefined()
    expect(await new Events(options).byId(reader(ours), theirId)).toBeUndefined()
    expect(await new Proofs(options).ofEvent(reader(ours), theirId)).toEqual({ kind: 'not_found' })
    const page = { order: 'desc', limit: 100, after: null } as const
    for (const asked of [filter, { ...everything, words: ['u1'] }, { ...everything, actor: ['u1@example.com'] }]) {
      expect(await new Events(options).list(reader(ours), asked, page)).toEqual({ kind: 'page', data: [], next: null })
    }
  })
})
