import { afterAll, beforeAll, expect, test } from 'vitest'
import { type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import { watchedPersonas } from '../../test/watched-personas.ts'
import { findPerson } from './people.ts'

let world: SealedDays

beforeAll(async () => {
  world = await sealedDays()
})
afterAll(() => world.drop())

test('whoever has an address is found among many large personas, of which few are held at once', async () => {
  const tenant = await world.tenant('acme')
  const event = (n: number) => ({
    action: 'a.b',
    actor: { id: `u${n % 3}`, email: n % 3 === 2 ? 'other@example.com' : 'ann@example.com' },
    metadata: { email: `ann@example.com ${n} ${'x'.repeat(200_000)}` },
  })
  await world.seal('acme', Date.now(), [...Array(45).keys()].map(event))
  const { personas, largest } = watchedPersonas(world.personas)
  const people = { ingest: world.database.store.pool('ingest'), personas }
  expect(await findPerson(people, tenant, { email: 'Ann@example.com' })).toHaveLength(2)
  expect(largest()).toBeGreaterThan(2e6)
  expect(largest()).toBeLessThan(5e6)
  expect(await findPerson(people, tenant, { email: 'nobody@example.com' })).toEqual([])
})
