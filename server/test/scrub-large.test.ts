// Events that are as large as they may be: the scrub shares its thread with the registry, so it reads few of them at once,
// and overlooks nothing where its pages end within a tile.
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openKeyFolder } from '../src/keys/key-folder.ts'
import { Personas } from '../src/keys/personas.ts'
import { KeyChest } from '../src/keys/tenant-keys.ts'
import { type Found, scrubRound } from '../src/scrub/scrub.ts'
import { silent } from '../src/store/log.ts'
import { Tenants } from '../src/tenants/tenants.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'
import { watchedPersonas } from './watched-personas.ts'

const count = 280
const large = 50
let database: TestDatabase
let server: StartedServer

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url, { AFFIDAVIT_SCRUB_EVENTS: '0' })
  const api = await Api.of(server.url, server.key)
  const metadata = (n: number) => {
    if (n < large) return { email: `${n}@${'x'.repeat(200_000)}.example` }
    return n < 2 * large ? { notes: `${n} ${'y'.repeat(200_000)}` } : { n }
  }
  const events = Array.from({ length: count }, (_, n) => ({
    tenant: 'acme',
    action: 'a.b',
    actor: { type: 'user', id: 'u' },
    metadata: metadata(n),
  }))
  for (let from = 0; from < count; from += 40)
    expect((await api.post('/v1/events/batch', events.slice(from, from + 40))).body).toMatchObject({ rejected: 0 })
  await vi.waitFor(async () => expect((await server.get<{ size: number }>('/v1/trails/acme')).size).toBe(count + 1), {
    timeout: 60_000,
    interval: 100,
  })
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

/** @returns what was found, `<what> <seq>`, entries read, and the most characters of people and of facts at once */
async function scrubbed() {
  const provider = await openKeyFolder({ folder: `${server.dataDir}/keys`, mayCreateRoot: false })
  const keeper = database.store.pool('keeper')
  const { personas, largest } = watchedPersonas(new Personas({ keeper, provider }))
  const pool = database.store.pool('scrub')
  const parts = {
    pool,
    tenants: new Tenants({ keeper, chest: new KeyChest(provider) }),
    personas,
    log: silent,
    recheck_ms: 0,
  }
  const found: Found[] = []
  const told: number[] = []
  const checked = await scrubRound(parts, {
    rate: Number.POSITIVE_INFINITY,
    signal: new AbortController().signal,
    onFound: (one) => found.push(one),
    onProgress: ({ checked: so }) => told.push(so),
  })
  const pages = told.map((so, n) => so - (told[n - 1] ?? 0))
  return { found: found.map(({ what, seq }) => `${what} ${seq}`), checked, largest: largest(), pages }
}

test('come a few at a time', async () => {
  const { found, checked, largest, pages } = await scrubbed()
  expect(found).toEqual([])
  expect(checked).toBeGreaterThan(count)
  expect(largest).toBeLessThan(9e6)
  // Of 200 KB each no more than 8 MiB: besides the small ones, which are as many as a tile has.
  expect(pages.filter((rows) => rows > 50).length).toBeLessThan(3)
})

test('a tile of theirs is compared as a whole', async () => {
  await database.superuser.query(
    `update affidavit.tiles set hashes = overlay(hashes placing '\\x00ff00ff' from 65) where level = 0 and index = 0
       and trail = (select t.number from affidavit.trails t join affidavit.tenants n on n.number = t.tenant where n.id = 'acme')`,
  )
  expect((await scrubbed()).found).toEqual(['tiles 0'])
})
