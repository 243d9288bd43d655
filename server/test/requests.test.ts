// Request bodies as users' existing loggers send them: each is accepted as it stands and given back as its file expects.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const folder = join(import.meta.dirname, '../../../shared/vectors/requests')
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []
if (files.length === 0) console.warn(`Skipped: there are no request vectors at ${folder}`)

type Json = Record<string, unknown>
/** Compared whole; of the others only the members that are named. */
const whole = new Set(['metadata', 'targets', 'changes', 'context'])

describe.skipIf(files.length === 0)('requests of existing loggers', () => {
  let database: TestDatabase
  let server: StartedServer
  let api: Api
  const keys = new Map<string, string>()

  beforeAll(async () => {
    database = await freshDatabase()
    server = await startedServer(database.url)
    api = await Api.of(server.url, server.key)
  })
  afterAll(async () => {
    await server?.stop()
    await database?.drop()
  })

  /** A key bound to the tenant that the body names, or to some tenant where it names none. */
  async function keyOf(tenant: string): Promise<string> {
    if (!keys.has(tenant)) {
      await api.put(`/v1/tenants/${tenant}`)
      const made = await api.post('/v1/keys', { name: 'Logger', tenant, scopes: ['events:write', 'events:read'] })
      keys.set(tenant, made.body.key)
    }
    return keys.get(tenant)!
  }

  test.each(files)('%s', async (file) => {
    const { body, expect: expected } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
      body: Json
      expect: Json
    }
    const named = (body.tenant_id ?? body.tenant) as string | undefined
    const bound = api.with(await keyOf(named ?? 'own'))
    const before = Date.now()
    const accepted = await bound.post('/v1/events', body)
    expect(accepted.status).toBe(201)
    const { body: event } = await bound.get(`/v1/events/${accepted.body.id}`)
    for (const [name, value] of Object.entries(expected)) {
      if (value === '<arrival>') {
        expect(Date.parse(event[name])).toBeGreaterThanOrEqual(before)
        expect(Date.parse(event[name])).toBeLessThanOrEqual(Date.now())
      } else if (value === "<the key's tenant>") expect(event[name]).toBe(named ?? 'own')
      else if (whole.has(name)) expect([name, event[name]]).toEqual([name, value])
      else if (typeof value === 'object') expect([name, event[name]]).toMatchObject([name, value])
      else expect([name, event[name]]).toEqual([name, value])
    }
    // What is no field of an event is told, and is in metadata.
    for (const moved of accepted.body.moved_to_metadata ?? []) expect(event.metadata).toHaveProperty([moved])
    expect((await bound.post('/v1/events', body)).status).toBe(body.event_id === undefined ? 201 : 200)
  })
})
