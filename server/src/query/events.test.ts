import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { parseFilter } from '../filter/filter.ts'
import { Events, type Listing } from './events.ts'
import type { Reader, ShownEvent } from './row.ts'

let world: SealedDays
let events: Events
let reader: Reader
const now = Date.now()

beforeAll(async () => {
  world = await sealedDays()
  events = new Events({ store: world.database.store, personas: world.personas })
  const tenant = await world.tenant('acme')
  await world.tenant('other')
  reader = { tenant, operator: false, confidential: false }
})
afterAll(() => world.drop())

async function list(query: Record<string, unknown>, as: Reader = reader): Promise<Listing> {
  const parsed = parseFilter(query, as.operator)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return events.list(as, parsed.filter, parsed.page)
}

async function all(query: Record<string, unknown>, as: Reader = reader): Promise<ShownEvent[]> {
  const found: ShownEvent[] = []
  let after: string | null = null
  do {
    const page: Listing = await list({ ...query, ...(after === null ? {} : { after }) }, as)
    if (page.kind !== 'page') throw new Error(page.kind)
    found.push(...page.data)
    after = page.next
  } while (after !== null)
  return found
}

describe('Events', () => {
  it('lists', async () => {
    await world.seal('acme', now - 2 * dayMs, [
      {
        action: 'user.login',
        actor: { id: 'u1', email: 'sarah@example.com', name: 'Sarah Johnson' },
        context: { ip: '203.0.113.9' },
      },
      {
        action: 'user.logout',
        actor: { id: 'u1', email: 'sarah@example.com', name: 'Sarah Johnson' },
        metadata: { plan: 'gold' },
      },
    ])
    await world.tidy()
    await world.seal('acme', now, [
      { action: 'doc.read', actor: { id: 'u2' }, targets: [{ type: 'doc', id: 'd1', name: 'Plan B' }] },
    ])
    const found = await all({})
    expect(found.map((event) => event.action)).toEqual(['doc.read', 'user.logout', 'user.login'])
  })
})
