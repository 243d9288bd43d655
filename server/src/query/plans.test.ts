// What PostgreSQL really does for each filter, as the role that asks: auto_explain reports every statement, those inside
// the finder's function included, with the rows that each node touched. No plan may read a partition from end to end, and
// none may touch more than a small part of the tenant.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { everything, type Filter } from '../filter/filter.ts'
import type { Database, Queryable } from '../store/database.ts'
import { types } from '../store/values.ts'
import { Events } from './events.ts'
import type { Reader } from './row.ts'

let world: SealedDays
let events: Events
let reader: Reader
let client: pg.Client
let notices: string[] = []
const now = Date.now()
const daysBack = 6
const perDay = 3_400
/** Rows of events that one search may touch, of more than 23,000: today's, which have no index of terms, and some. */
const most = 1.5 * perDay

const actions = [
  'user.login',
  'user.logout',
  'document.updated',
  'document.read',
  'document.shared',
  'user.role.updated',
  'invoice.paid',
]
const categoryRarely = (i: number) => (i % 500 === 0 ? { category: 'administration' } : {})

const person = (name: string) => ({ id: `u${name}`, name: `Person ${name}`, email: `p${name}@example.com` })

/** One actor does a tenth, the others share the rest; one event in 1,000 has more than its terms can hold. */
const event = (i: number) => ({
  action: actions[(i * 7 + (i >> 5)) % actions.length],
  ...categoryRarely(i),
  actor: { ...person(i % 10 === 0 ? 'worst' : `${i % 211}`), team: `team${i % 40}` },
  targets:
    i % 1000 === 1
      ? Array.from({ length: 64 }, (_, n) => ({ type: 'document', id: `many-${n}` }))
      : [{ type: 'document', id: `doc-${i % 3001}` }],
  outcome: i % 400 === 3 ? 'denied' : 'success',
  context: {
    ip: `198.51.100.${i % 211}`,
    request_id: `req-${i}`,
    trace_id: `tr-${i >> 1}`,
    session_id: `s-${i % 999}`,
    auth_method: i % 600 === 0 ? 'mtls' : 'sso',
  },
  metadata: { plan: 'gold', ticket: `T-${i % 1777}`, note: `lorem w${i % 1499}` },
})

beforeAll(async () => {
  world = await sealedDays()
  reader = { tenant: await world.tenant('big'), operator: true, confidential: false }
  await world.tenant('small')
  let i = 0
  for (let day = daysBack; day >= 0; day--) {
    if (day === 0) await world.tidy() // so that today is what the notary has not seen
    for (let at = 0; at < perDay; at += 850) {
      const batch = Array.from({ length: Math.min(850, perDay - at) }, () => event(i++))
      await world.seal('big', now - day * dayMs, batch)
      await world.seal('small', now - day * dayMs, batch.slice(0, 60))
    }
  }
  await world.database.superuser.query('vacuum analyze')
  client = new pg.Client({
    ...world.database.login,
    types,
    pipeline: true,
    options: '-c timezone=UTC -c datestyle=ISO',
  })
  await client.connect()
  await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
    set auto_explain.log_nested_statements = on; set auto_explain.log_format = json; set client_min_messages = log`)
  client.on('notice', ({ message }) => notices.push(message ?? ''))
  events = new Events({ store: explained(client), personas: world.personas })
}, 180_000)
afterAll(async () => {
  await client.end()
  await world.drop()
})

/** The store's reader pool over the one connection that reports its plans. */
function explained(session: pg.Client): Database {
  const asTenant = async <Result>(tenant: number, work: (session: Queryable) => Promise<Result>) => {
    await session.query(
      `begin isolation level repeatable read read only; set local role affidavit_operator_reader;
       select set_config('affidavit.tenant', '${tenant}', true),
         set_config('plan_cache_mode', 'force_generic_plan', true)`,
    )
    try {
      return await work(session as Queryable)
    } finally {
      await session.query('commit')
    }
  }
  return { pool: () => ({ asTenant }) } as unknown as Database
}

interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  Plans?: Node[]
}

interface Touched {
  /** Kinds of indexes on events, without the partition. */
  indexes: Set<string>
  sequential: string[]
  /** Rows of events that any node produced or threw away. */
  rows: number
}

function touched(): Touched {
  const all: Touched = { indexes: new Set(), sequential: [], rows: 0 }
  for (const notice of notices) {
    const at = notice.indexOf('{')
    if (notice.startsWith('duration:') && at > 0) visit((JSON.parse(notice.slice(at)) as { Plan: Node }).Plan, all)
  }
  return all
}

function visit(node: Node, all: Touched): void {
  const index = node['Index Name']
  const ofEvents = index?.startsWith('events_2') || node['Relation Name']?.startsWith('events_2')
  if (ofEvents) {
    const rows =
      node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)
    all.rows += rows * node['Actual Loops']
    if (index !== undefined) all.indexes.add(index.replace(/^events_\d+_(.*?)(_open)?$/, '$1'))
    if (node['Node Type'] === 'Seq Scan' && node['Actual Loops'] > 0) all.sequential.push(node['Relation Name']!)
  }
  for (const child of node.Plans ?? []) visit(child, all)
}

const byActor = 'actor'
const byAction = 'action'
const from = (days: number) => now - days * dayMs

const cases: [name: string, filter: Partial<Filter>, indexes: string[], count: number][] = [
  ['nothing', {}, ['place'], 100],
  ['actor', { actor: ['u7'] }, [byActor], 100],
  ['the worst actor', { actor: ['uworst'] }, [byActor], 100],
  ['actor by e-mail', { actor: ['p7@example.com'] }, [byActor], 100],
  ['many actors', { actor: Array.from({ length: 20 }, (_, i) => `u${i}`) }, [byActor], 100],
  ['actor and action', { actor: ['uworst'], action: ['user.role.*'] }, [byActor], 100],
  ['actor and a rare request', { actor: ['uworst'], request_id: ['req-10'] }, ['request'], 1],
  ['action', { action: ['invoice.paid'] }, [byAction], 100],
  ['action pattern', { action: ['user.*'] }, [byAction], 100],
  ['rare category', { category: ['administration'] }, ['terms', 'place'], 48],
  ['target', { target: ['doc-77'] }, ['terms', 'place'], 8],
  ['team', { team: ['team7'] }, ['terms', 'place'], 100],
  ['outcome', { outcome: ['denied'] }, ['terms', 'place'], 60],
  ['ip', { ip: ['198.51.100.7'] }, ['terms', 'place'], 100],
  ['auth method', { auth_method: ['mtls'] }, ['terms', 'place'], 40],
  ['request', { request_id: ['req-77'] }, ['request'], 1],
  ['trace', { trace_id: ['tr-77'] }, ['terms', 'place'], 2],
  ['session', { session_id: ['s-77'] }, ['terms', 'place'], 24],
  ['metadata', { metadata: [['ticket', ['T-77']]] }, ['terms', 'place'], 14],
  ['metadata that all have', { metadata: [['plan', ['gold']]] }, ['place'], 100],
  ['words', { words: ['w77'] }, ['terms', 'place'], 16],
  ['words of people', { words: ['person', '77'] }, ['terms', 'place'], 100],
  ['a word of everybody', { words: ['person'] }, ['place'], 100],
  ['from', { from: from(1.5) }, ['place'], 100],
  ['from and to', { from: from(3.5), to: from(2.5) }, ['place'], 100],
  ['action within days', { action: ['invoice.paid'], from: from(5.5), to: from(4.5) }, [byAction], 100],
  ['control entries, too', { control: true }, ['place'], 100],
]

describe('plans', () => {
  it('are looked at for every member of the filter', () => {
    expect([...new Set(cases.flatMap(([, asked]) => Object.keys(asked)))].sort()).toEqual(
      Object.keys(everything).sort(),
    )
  })

  it.each(cases)('%s', async (_name, asked, indexes, count) => {
    const filter: Filter = { ...everything, ...asked }
    notices = []
    let found = 0
    let after: string | null = null
    do {
      const page = await events.list(reader, filter, { order: 'desc', limit: 100, after })
      if (page.kind !== 'page') throw new Error(page.kind)
      found += page.data.length
      after = page.next
    } while (after !== null && found < 100)
    const { indexes: used, sequential, rows } = touched()
    expect(sequential).toEqual([])
    for (const index of indexes) expect(used).toContain(index)
    expect(rows).toBeLessThan(most)
    expect(found).toBeGreaterThanOrEqual(Math.min(count, 100))
  })
})
