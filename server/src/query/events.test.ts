import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { watchedPersonas } from '../../test/watched-personas.ts'
import { parseFilter } from '../filter/parameters.ts'
import { controlEntry } from '../seal/control.ts'
import { Events, type Listing } from './events.ts'
import { readRows } from './read.ts'
import type { Reader, ShownEvent } from './row.ts'
import { readSpans, readTrails } from './spans.ts'

let world: SealedDays
let events: Events
let reader: Reader
let other: Reader
const now = Date.now()
const minute = 60_000

beforeAll(async () => {
  world = await sealedDays()
  events = new Events({ store: world.database.store, personas: world.personas })
  reader = {
    tenant: await world.tenant('acme', { confidential: ['/metadata/salary'] }),
    operator: false,
    confidential: false,
  }
  other = { tenant: await world.tenant('other'), operator: false, confidential: false }
})
afterAll(() => world.drop())

async function list(query: Record<string, unknown>, as: Reader = reader): Promise<Listing> {
  const parsed = parseFilter(query, as.operator)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return events.list(as, parsed.filter, parsed.page)
}

async function page(
  query: Record<string, unknown>,
  as: Reader = reader,
): Promise<{ data: ShownEvent[]; next: string | null }> {
  const listing = await list(query, as)
  if (listing.kind !== 'page') throw new Error(listing.kind)
  return listing
}

async function all(query: Record<string, unknown>, as: Reader = reader): Promise<ShownEvent[]> {
  const found: ShownEvent[] = []
  let after: string | null = null
  do {
    const { data, next } = await page({ ...query, ...(after === null ? {} : { after }) }, as)
    found.push(...data)
    after = next
  } while (after !== null)
  return found
}

const seqs = (found: readonly ShownEvent[]) => found.map((event) => event.seq)
const numbered = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    action: `step.done`,
    actor: { id: `u${(from + i) % 3}` },
    metadata: { n: from + i },
  }))

describe('pages', () => {
  it('show an event with its seal, its people and without what the reader may not see', async () => {
    const [id] = await world.seal('acme', now - 2 * dayMs, [
      {
        action: 'user.updated',
        occurred_at: new Date(now - 3 * dayMs).toISOString(),
        actor: { id: 'u1', name: 'Sarah Johnson', email: 'sarah@example.com' },
        context: { session_id: 's-1' },
        metadata: { salary: 100, plan: 'gold' },
      },
      { action: 'user.login', actor: { id: 'u2' } },
    ])
    await world.tidy()
    const [second, first] = (await page({})).data
    expect(second).toMatchObject({ action: 'user.login', seq: 1, previous_hash: first!.hash, late: false })
    expect(first).toMatchObject({
      id,
      tenant: 'acme',
      trail: reader.tenant.trail.id,
      seq: 0,
      previous_hash: '0'.repeat(64),
      sealed_at: new Date(now - 2 * dayMs).toISOString(),
      late: true,
      actor: { id: 'u1', name: 'Sarah Johnson', email: 'sarah@example.com' },
      metadata: { salary: null, plan: 'gold' },
      context: { session_id: null },
      withheld: ['/context/session_id', '/metadata/salary'],
    })
    expect(first!.facts).not.toContain('Sarah')
    expect(first!.facts_salt).toMatch(/^[0-9a-f]{32}$/)
    const privileged = { ...reader, operator: true, confidential: true }
    const seen = (await page({ session_id: 's-1' }, privileged)).data[0]
    expect(seen).toMatchObject({ metadata: { salary: 100 }, context: { session_id: 's-1' } })
    expect(seen).not.toHaveProperty('withheld')
    expect(await events.byId(reader, id!)).toEqual(first)
    expect(await events.byId(reader, 'unknown')).toBeUndefined()
    expect(await events.byId(other, id!)).toBeUndefined()
  })

  it('continue in both directions without gap or repeat, whatever their length', async () => {
    for (let day = 6; day > 0; day--) {
      await world.seal('acme', now - day * minute, numbered(10 * day, 9))
      await world.seal('other', now - day * minute, numbered(10 * day, 4))
    }
    const oldestFirst = seqs(await all({ order: 'asc' }))
    expect(oldestFirst).toEqual(Array.from({ length: 56 }, (_, i) => i))
    for (const limit of ['1', '7', '56', '100']) {
      expect(seqs(await all({ order: 'asc', limit }))).toEqual(oldestFirst)
      expect(seqs(await all({ order: 'desc', limit }))).toEqual(oldestFirst.toReversed())
    }
    expect(seqs(await all({ actor: 'u1', limit: '5' }))).toHaveLength(19)
  })

  it.each<[string, (n: number) => object]>([
    ['their people', (n) => ({ email: `${n}@${'x'.repeat(400_000)}.example` })],
    ['their facts', (n) => ({ notes: `${n} ${'x'.repeat(200_000)}` })],
  ])('are short where events are large through %s, and few are read at once', async (which, metadata) => {
    const { personas, largest } = watchedPersonas(world.personas)
    const own = new Events({ store: world.database.store, personas })
    const large: Reader = { tenant: await world.tenant(which.replace(' ', '-')), operator: false, confidential: false }
    const sealed = numbered(0, 20).map((event, n) => ({ ...event, metadata: metadata(n) }))
    await world.seal(large.tenant.id, now, sealed)
    const found: unknown[] = []
    for (let after: string | null = null, pages = 0; pages === 0 || after !== null; pages++) {
      const parsed = parseFilter({ limit: '1000', ...(after !== null && { after }) }, false)
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
      const listing = await own.list(large, parsed.filter, parsed.page)
      if (listing.kind !== 'page') throw new Error(listing.kind)
      expect(listing.data.length).toBeLessThan(8)
      found.push(...listing.data.map((event) => event.metadata))
      after = listing.next
    }
    expect(found.reverse()).toEqual(sealed.map((event) => event.metadata))
    expect(largest()).toBeLessThan(2e6)
  })

  it('are made of rows that end with the bytes that may come, and say where', async () => {
    const tenant = await world.tenant('long')
    await world.seal(
      'long',
      now,
      numbered(0, 10).map((event) => ({ ...event, metadata: { notes: 'x'.repeat(100_000) } })),
    )
    const rows = await world.database.store.pool('reader').asTenant(tenant.number, async (session) => {
      const [trail] = await readTrails(session, tenant.number)
      const spans = await readSpans(session, trail!)
      const read = (some: number[], most: number) =>
        readRows(session, { tenant, operator: false, confidential: false }, trail!, spans, some, most)
      return [await read([9, 7, 20, 5, 3], 150_000), await read([9, 7], 1), await read([9, 7], 1e6)]
    })
    expect(rows.map(({ rows: read, next }) => [read.map(({ seq }) => seq), next])).toEqual([
      [[9, 7], 5],
      [[9], 7],
      [[9, 7], null],
    ])
  })

  it('hide control entries unless they are asked for', async () => {
    const { trail } = other.tenant
    await world.sealRaw(now, [controlEntry(trail, 0, { kind: 'policy', about: 'capture', version: 1 }, {}, now)])
    await world.seal('other', now, [{ action: 'a.b', actor: { id: 'u1' } }])
    const size = 26
    expect(seqs(await all({}, other))).not.toContain(size - 2)
    expect(await all({}, other)).toHaveLength(size - 1)
    const found = await all({ control: 'true' }, other)
    expect(found).toHaveLength(size)
    expect(found[1]).toMatchObject({ seq: size - 2, control: 'policy capture 1' })
    expect(await all({ control: 'true', actor: 'u1' }, other)).toHaveLength((await all({ actor: 'u1' }, other)).length)
  })
})

describe('cursors', () => {
  it('are refused with another tenant, filter or order, and when they were changed', async () => {
    const { next } = await page({ limit: '3', actor: 'u1' })
    expect(next).not.toBeNull()
    expect((await list({ actor: 'u1', after: next, limit: '9' })).kind).toBe('page')
    const refused = { kind: 'invalid_cursor' }
    expect(await list({ actor: 'u1', after: next }, other)).toEqual(refused)
    expect(await list({ after: next })).toEqual(refused)
    expect(await list({ actor: ['u1', 'u2'], after: next })).toEqual(refused)
    expect(await list({ actor: 'u1', order: 'asc', after: next })).toEqual(refused)
    expect(await list({ actor: 'u1', after: `${next!.slice(0, -2)}AA` })).toEqual(refused)
    expect(await list({ actor: 'u1', after: `${next}=` })).toEqual(refused)
    expect(await list({ actor: 'u1', after: 'x' })).toEqual(refused)
  })

  it('do not depend on the order in which values were given', async () => {
    const { next } = await page({ limit: '3', actor: ['u1', 'u2'], category: 'mutation' })
    expect((await list({ category: 'mutation', actor: ['u2', 'u1'], after: next })).kind).toBe('page')
  })
})

describe('actors', () => {
  const deed = (actor: object, context: object = {}) => ({ action: 'door.opened', actor, context })
  let people: Reader

  beforeAll(async () => {
    people = {
      tenant: await world.tenant('people', { personal: ['/metadata/badge'] }),
      operator: false,
      confidential: false,
    }
  })

  it('are found by id whatever their type and home tenant', async () => {
    await world.seal('people', now, [
      deed({ id: 'visitor', tenant: 'other', name: 'Ada' }),
      deed({ id: 'visitor' }),
      deed({ id: 'visitor', type: 'service' }),
      { ...deed({ id: 'guard' }), targets: [{ type: 'user', id: 'visitor', name: 'Ada' }] },
    ])
    expect(seqs(await all({ actor: 'visitor' }, people))).toEqual([2, 1, 0])
    expect(seqs(await all({ actor: 'visitor', action: 'door.*' }, people))).toEqual([2, 1, 0])
    expect(seqs(await all({ actor: 'ada' }, people))).toEqual([])
  })

  it('with any number of personas are found by their e-mail address', async () => {
    const from = (address: number) => ({ ip: `10.1.${address >> 8}.${address & 255}` })
    const many = Array.from({ length: 600 }, (_, i) => deed({ id: 'mobile', email: 'mobile@example.com' }, from(i)))
    await world.seal('people', now, many)
    const { rows } = await world.database.superuser.query(
      'select count(*)::int as n from affidavit.persona_tokens t join affidavit.subjects s on s.number = t.subject where t.tenant = $1',
      [people.tenant.number],
    )
    expect(rows[0].n).toBeGreaterThan(600)
    expect(await all({ actor: 'Mobile@example.com', limit: '1000' }, people)).toHaveLength(600)
  })

  it('stay findable by an id that is no personal value once they are erased, and by nothing else', async () => {
    await world.seal('people', now, [
      deed({ id: 'leaver', email: 'leaver@example.com' }),
      deed({ id: 'mailed@example.com' }),
      { ...deed({ id: 'B-77' }), metadata: { badge: 'B-77' } },
    ])
    const count = async (actor: string) => (await all({ actor }, people)).length
    expect(await Promise.all(['leaver', 'leaver@example.com', 'mailed@example.com', 'B-77'].map(count))).toEqual([
      1, 1, 1, 1,
    ])
    const { superuser } = world.database
    const { rows } = await superuser.query(
      `update affidavit.subjects set token = gen_random_uuid(), erased_at = now() where tenant = $1 returning number`,
      [people.tenant.number],
    )
    await superuser.query('delete from affidavit.personas where tenant = $1', [people.tenant.number])
    await superuser.query('delete from affidavit.persona_tokens where tenant = $1', [people.tenant.number])
    world.personas.forget(rows.map((row) => row.number))
    expect(await Promise.all(['leaver', 'leaver@example.com', 'mailed@example.com', 'B-77'].map(count))).toEqual([
      1, 0, 0, 0,
    ])
    expect(await all({ actor: 'leaver' }, people)).toMatchObject([{ actor: { id: 'leaver', email: null } }])
    expect(await all({ actor: 'visitor' }, people)).toHaveLength(3)
  })
})

describe('polling', () => {
  it('neither misses nor repeats while writers go on', async () => {
    await world.tenant('busy')
    const busy: Reader = { tenant: await world.tenant('busy'), operator: false, confidential: false }
    let writing = true
    const writer = (async () => {
      for (let i = 0; i < 40; i++) await world.seal('busy', now, numbered(10 * i, 10))
      writing = false
    })()
    const got: number[] = []
    const wanted: number[] = []
    const poll = async (query: Record<string, string>, into: number[], after: { last: string | null }) => {
      const { data, next } = await page(
        { ...query, order: 'asc', ...(after.last === null ? {} : { after: after.last }) },
        busy,
      )
      into.push(...seqs(data))
      after.last = next ?? after.last
      return next
    }
    const every = { last: null }
    const some = { last: null }
    for (let more = true; more; ) {
      const ended = !writing
      const moved = [await poll({ limit: '17' }, got, every), await poll({ actor: 'u0', limit: '5' }, wanted, some)]
      more = !ended || moved.some((next) => next !== null)
    }
    await writer
    expect(got).toEqual(Array.from({ length: 400 }, (_, i) => i))
    expect(wanted).toEqual(seqs(await all({ actor: 'u0', order: 'asc' }, busy)))
    expect(wanted).toHaveLength(134)
  })

  it('moves past events that the filter does not want, and says when there was nothing new', async () => {
    const first = await page({ order: 'asc', actor: 'nobody' })
    expect(first.data).toEqual([])
    expect(first.next).not.toBeNull()
    expect(await page({ order: 'asc', actor: 'nobody', after: first.next })).toMatchObject({ data: [], next: null })
    await world.seal('acme', now, [{ action: 'a.b', actor: { id: 'nobody' } }])
    expect((await page({ order: 'asc', actor: 'nobody', after: first.next })).data).toHaveLength(1)
  })
})

describe('forgotten parts', () => {
  it('are shown as such and found no more', async () => {
    const { superuser } = world.database
    const before = (await page({ q: 'sarah' })).data
    expect(before).toHaveLength(1)
    await superuser.query('delete from affidavit.personas where tenant = $1', [reader.tenant.number])
    await superuser.query('delete from affidavit.persona_tokens where tenant = $1', [reader.tenant.number])
    world.personas.forget(
      (await superuser.query('select number from affidavit.subjects')).rows.map((row) => row.number),
    )
    expect((await page({ q: 'sarah' })).data).toEqual([])
    expect((await all({ actor: 'u1', action: 'user.updated' }))[0]).toMatchObject({
      actor: { id: 'u1', name: null, email: null },
      erased: ['/actor/name', '/actor/email'],
    })
  })

  it('leave what the columns say', async () => {
    await world.database.superuser.query(
      `set session_replication_role = replica;
       update affidavit.events set facts = null, facts_salt = null where tenant = ${reader.tenant.number} and seq = 1;
       reset session_replication_role`,
    )
    const [found] = await all({ action: 'user.login' })
    expect(found).toMatchObject({
      seq: 1,
      redacted: true,
      facts: null,
      action: 'user.login',
      category: 'authentication',
    })
    expect(await all({ actor: 'u2', action: 'user.login' })).toEqual([])
  })
})
