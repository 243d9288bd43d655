// One table of cases for both forms of the filter: the closure over all events, and the search in the database, over
// days that are closed, open, and not yet seen by the notary.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { compileFilter } from '../filter/closure.ts'
import { parseFilter } from '../filter/parameters.ts'
import { Events } from './events.ts'
import { readRows } from './read.ts'
import { type Opened, openPeople, openRow, type Reader } from './row.ts'
import { readSpans, readTrails } from './spans.ts'

let world: SealedDays
let events: Events
let reader: Reader
let stored: Opened[]
/** Names of the events below by seq. */
const names = new Map<number, string>()
const now = Date.now()

const sarah = { id: 'u1', name: 'Sarah Johnson', email: 'Sarah.Johnson@example.com', team: 'finance' }
const many = (count: number, make: (i: number) => unknown) => Array.from({ length: count }, (_, i) => make(i))

/** Sealed three days ago, two days ago, today, and today after the notary's last visit. */
const days: Record<string, object>[] = [
  {
    login: {
      action: 'user.login',
      actor: sarah,
      context: { ip: '203.0.113.9', auth_method: 'sso', session_id: 's-1', request_id: 'r-1', trace_id: 't-1' },
      occurred_at: '2026-01-05T10:00:00.000Z',
    },
    refused: {
      action: 'user.login',
      actor: { ...sarah, id: 'u9', email: 'nine@example.com', name: 'Zoë Müller' },
      outcome: 'denied',
      reason: 'Wrong password',
      context: { ip: '2001:db8::1' },
    },
    role: {
      action: 'user.role.updated',
      actor: sarah,
      targets: [
        { type: 'document', id: 'd0' },
        { type: 'user', id: 'u2', name: 'Mark Chen', email: 'mark@example.com' },
      ],
      metadata: { plan: 'gold', seats: 12, trial: false },
    },
  },
  {
    crowded: {
      action: 'folder.shared',
      actor: { id: 'u1' },
      targets: many(64, (i) => ({ type: 'document', id: `doc-${i}` })),
      metadata: { plan: 'silver' },
    },
    wordy: { action: 'note.added', actor: { id: 'u3' }, reason: many(100, (i) => `lorem${i}`).join(' ') },
    mail: { action: 'mail.sent', actor: { email: 'sarah.johnson@EXAMPLE.com' }, metadata: { email: 'x@y.example' } },
    report: {
      action: 'report.exported',
      actor: { type: 'service', id: 'svc-1', name: 'Nightly Sync' },
      outcome: 'failure',
    },
  },
  {
    again: {
      action: 'user.login',
      actor: sarah,
      context: { ip: '::ffff:203.0.113.9', session_id: 's-2', request_id: 'r-2' },
    },
    bill: { action: 'invoice.paid', actor: { id: 'u2', team: 'sales' }, targets: [{ type: 'invoice', id: 'd0' }] },
    guessing: { action: 'user_profile.viewed', actor: { type: 'anonymous' }, context: { ip: '198.51.100.4' } },
  },
  {
    late: {
      action: 'user.logout',
      actor: sarah,
      targets: [{ type: 'document', id: 'd0' }],
      metadata: { plan: 'gold', 'odd=key': 'a=b' },
      context: { request_id: 'r-1' },
    },
  },
]

beforeAll(async () => {
  world = await sealedDays()
  events = new Events({ store: world.database.store, personas: world.personas })
  const tenant = await world.tenant('acme', { personal: ['/metadata/owner'] })
  await world.tenant('other')
  reader = { tenant, operator: true, confidential: false }
  let seq = 0
  for (const [i, day] of days.entries()) {
    const at = now - Math.max(0, 2 - i) * dayMs - (i < 2 ? dayMs : 0)
    await world.seal('other', at, Object.values(day))
    await world.seal('acme', at, Object.values(day))
    for (const name of Object.keys(day)) names.set(seq++, name)
    if (i < 3) await world.tidy()
  }
  stored = await readAll()
})
afterAll(() => world.drop())

async function readAll(): Promise<Opened[]> {
  return world.database.store.pool('operator_reader').asTenant(reader.tenant.number, async (session) => {
    const [trail] = await readTrails(session, reader.tenant.number)
    const seqs = many(trail!.size, (i) => i) as number[]
    const { rows } = await readRows(session, reader, trail!, await readSpans(session, trail!), seqs)
    const people = await openPeople(world.personas, reader, rows)
    return rows.map((row) => openRow(row, people))
  })
}

type Query = Record<string, string | string[]>

/** Both answers in the order of sealing, as sequence numbers. */
async function answers(query: Query): Promise<{ closure: number[]; search: number[] }> {
  const parsed = parseFilter(query, true)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  const matches = compileFilter(parsed.filter)
  const search: number[] = []
  let after = parsed.page.after
  for (;;) {
    const page = await events.list(reader, parsed.filter, { ...parsed.page, after })
    if (page.kind !== 'page') throw new Error(page.kind)
    search.push(...page.data.map((event) => event.seq))
    if (page.next === null) break
    after = page.next
  }
  if (parsed.page.order === 'desc') search.reverse()
  return { closure: stored.filter(matches).map(({ row }) => row.seq), search }
}

const cases: [query: Query, expected: string][] = [
  [{}, 'login refused role crowded wordy mail report again bill guessing late'],
  [{ actor: 'u1' }, 'login role crowded again late'],
  [{ actor: 'sarah.johnson@example.com' }, 'login role mail again late'],
  [{ actor: ['u2', 'u3'] }, 'wordy bill'],
  [{ actor: 'svc-1' }, 'report'],
  [{ actor: 'nobody' }, ''],
  [{ actor: 'u1', action: 'user.*' }, 'login role again late'],
  [{ actor: 'u1', action: 'user.login,user.logout', order: 'asc' }, 'login again late'],
  [{ actor: 'u1', 'metadata.plan': 'gold' }, 'role late'],
  [{ action: 'user.login' }, 'login refused again'],
  [{ action: 'user.*', order: 'asc' }, 'login refused role again late'],
  [{ action: 'user.login', outcome: 'denied' }, 'refused'],
  [{ action: 'user.login', ip: '203.0.113.9' }, 'login again'],
  [{ action: '*', limit: '2' }, 'login refused role crowded wordy mail report again bill guessing late'],
  [{ action: 'no.such' }, ''],
  [{ category: 'authentication' }, 'login refused again late'],
  [{ category: ['billing', 'authorization'] }, 'role bill'],
  [{ target: 'd0' }, 'role bill late'],
  [{ target: 'd0', limit: '1' }, 'role bill late'],
  [{ target: 'u2' }, 'role'],
  [{ target: 'MARK@example.com' }, 'role'],
  [{ target: 'doc-63' }, 'crowded'],
  [{ team: 'finance' }, 'login refused role again late'],
  [{ team: 'finance', order: 'asc', limit: '1' }, 'login refused role again late'],
  [{ outcome: 'success' }, 'login role crowded wordy mail again bill guessing late'],
  [{ outcome: ['failure', 'denied'] }, 'refused report'],
  [{ outcome: ['success', 'denied'] }, 'login refused role crowded wordy mail again bill guessing late'],
  [{ ip: '203.0.113.9' }, 'login again'],
  [{ ip: '2001:DB8:0::1' }, 'refused'],
  [{ ip: '192.0.2.1' }, ''],
  [{ auth_method: 'sso' }, 'login'],
  [{ request_id: 'r-1' }, 'login late'],
  [{ request_id: 'r-1', order: 'asc' }, 'login late'],
  [{ request_id: ['r-1', 'r-2'], actor: 'u1' }, 'login again late'],
  [{ trace_id: 't-1' }, 'login'],
  [{ session_id: ['s-1', 's-2'] }, 'login again'],
  [{ from: '2026-01-05', to: '2026-01-06' }, 'login'],
  [{ to: '2026-01-05T10:00:00Z' }, ''],
  [{ from: '2026-01-05T12:00:00+02:00', actor: 'u1', to: '2026-01-05T10:00:00.001Z' }, 'login'],
  [{ 'metadata.plan': 'gold' }, 'role late'],
  [{ 'metadata.plan': ['gold', 'silver'] }, 'role crowded late'],
  [{ 'metadata.plan': 'gold', 'metadata.seats': '12', 'metadata.trial': 'false' }, 'role'],
  [{ 'metadata.odd=key': 'a=b' }, 'late'],
  [{ 'metadata.odd': 'key=a=b' }, ''],
  [{ 'metadata.email': 'x@y.example' }, 'mail'],
  [{ 'metadata.constructor': 'x' }, ''],
  [{ q: 'PASSWORD wrong' }, 'refused'],
  [{ q: 'sarah johnson' }, 'login role mail again late'],
  [{ q: 'Zoe\u0308' }, 'refused'],
  [{ q: 'mark' }, 'role'],
  [{ q: 'lorem99' }, 'wordy'],
  [{ q: 'nightly sync' }, 'report'],
  [{ q: 'gold', action: 'user.role.updated' }, 'role'],
  [{ q: 'no such words' }, ''],
]

describe('the filter', () => {
  it.each(cases)('%j → %s', async (query, expected) => {
    const { closure, search } = await answers(query)
    const named = (seqs: number[]) => seqs.map((seq) => names.get(seq)).join(' ')
    expect({ closure: named(closure), search: named(search) }).toEqual({ closure: expected, search: expected })
  })

  it('searches as the closure decides, for random filters', async () => {
    const value = (...values: string[]) => fc.subarray(values, { minLength: 1, maxLength: 2 })
    const query = fc.record(
      {
        actor: value('u1', 'u2', 'u9', 'svc-1', 'nine@example.com', 'u77'),
        action: value('user.*', 'user.login', 'n*', 'mail.sent', '*', 'x*'),
        category: value('authentication', 'billing', 'mutation', 'data_access'),
        target: value('d0', 'u2', 'doc-3', 'mark@example.com'),
        team: value('finance', 'sales'),
        outcome: value('success', 'failure', 'denied'),
        ip: value('203.0.113.9', '198.51.100.4'),
        request_id: value('r-1', 'r-2', 'r-3'),
        session_id: value('s-1', 's-2'),
        'metadata.plan': value('gold', 'silver'),
        q: value('login', 'sarah', 'lorem7', 'user', 'chen', 'example').map((words) => words.join(' ')),
        from: fc.constantFrom('2026-01-01', new Date(now - dayMs).toISOString()),
        order: fc.constantFrom('asc', 'desc'),
        limit: fc.constantFrom('1', '3', '100'),
      },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(query, async (asked) => {
        const { closure, search } = await answers(asked as Query)
        expect(search).toEqual(closure)
      }),
      { numRuns: 150 },
    )
  })
})
