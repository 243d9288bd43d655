// What the platform notes of itself, when it cannot be sealed: it waits without a busy loop, holds up nobody else's, and no
// server that stops waits for it for good.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { pipeline } from '../../test/faults-pipeline.ts'
import type { Ingest } from '../ingest/accept.ts'
import { openKeys } from '../keys/open-keys.ts'
import type { Sealer } from '../seal/sealer.ts'
import { silent } from '../store/log.ts'
import { PlatformRecorder } from './platform-events.ts'

let database: TestDatabase
let folder: string
let sealer: Sealer
let ingest: Ingest
let attempts = 0
const told: string[] = []

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-platform-'))
  const keys = await openKeys({ keeper: database.store.pool('keeper'), folder })
  await database.store.pool('retention').query('select affidavit.create_partitions(current_date, 2)')
  ;[sealer, ingest] = await pipeline(database, keys, database.store)
  for (const tenant of ['stopped', 'well']) {
    const producer = { key: undefined, tenant, mayCreateTenants: true, personal: [] }
    await ingest.accept([{ ok: true as const, value: { action: 'a.b', actor: { id: 'u' } } }], producer, Date.now())
  }
})
afterAll(async () => {
  await sealer.drain()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const recorder = () =>
  new PlatformRecorder(
    {
      accept: (...args) => {
        attempts += 1
        return ingest.accept(...args)
      },
    },
    { ...silent, error: (_about: object, message: string) => told.push(message) },
  )

const noted = (id: string, tenant: string) =>
  ({ id, tenant, action: 'affidavit.key.used', actor: { type: 'system' } }) as const

async function sealed(id: string): Promise<boolean> {
  const { rowCount } = await database.superuser.query(`select from affidavit.events where facts::jsonb ->> 'id' = $1`, [
    id,
  ])
  return rowCount === 1
}

async function stop(...tenants: string[]): Promise<void> {
  const { rows } = await database.superuser.query<{ number: number }>(
    'select t.number from affidavit.trails t join affidavit.tenants o on o.number = t.tenant where o.id = any($1)',
    [tenants],
  )
  sealer.stopTrails(new Map(rows.map(({ number }) => [number, 'a test'])))
}

test('what goes to a trail that was stopped waits until it goes on, and keeps nothing else waiting', async () => {
  const platform = recorder()
  await stop('stopped')
  attempts = 0
  const started = Date.now()
  platform.note(noted('first', 'stopped'))
  platform.note(noted('second', 'well'))
  await expect.poll(() => sealed('second')).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  // A tenth of a second at first, then ever more.
  expect(attempts).toBeLessThan(4 + (Date.now() - started) / 250)
  expect(await sealed('first')).toBe(false)
  await stop()
  await expect.poll(() => sealed('first')).toBe(true)
})

test('a server that stops tries for some seconds, then says what it gives up', async () => {
  const platform = recorder()
  await stop('stopped')
  platform.note(noted('third', 'stopped'))
  platform.note(noted('fourth', 'well'))
  const started = Date.now()
  await platform.flush()
  expect(Date.now() - started).toBeLessThan(20_000)
  expect(told).toEqual([expect.stringContaining('platform events given up')])
  expect([await sealed('third'), await sealed('fourth')]).toEqual([false, true])
})
