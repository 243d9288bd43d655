// SIGKILL of a whole server while it forgets: the next start goes on by itself, and the verifier has nothing to say.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { event, judged, notarized, rest } from './forget-fixture.ts'
import { Api } from './http-api.ts'
import { type ServerProcess, startProcess } from './server-process.ts'

const kills = process.env.AFFIDAVIT_LONG === '1' ? 15 : 3
let database: TestDatabase
let server: ServerProcess

beforeAll(async () => {
  database = await freshDatabase()
  server = await startProcess({ databaseUrl: database.url, settings: { AFFIDAVIT_NOTARY_INTERVAL_MS: '100' } })
})
afterAll(async () => {
  await server?.remove()
  await database?.drop()
})

test('erasures and key rotations survive it', async () => {
  const api = await Api.of(server.url, server.operatorKey)
  const { body: key } = await api.post('/v1/keys', { name: 'Second', scopes: ['forget:approve', 'forget:read'] })
  const second = api.with(key.key)
  const ids: string[] = []
  for (let n = 0; n < kills; n++) {
    await api.post('/v1/events/batch', [event('killed', `goes-${n}`), event('killed', `stays-${n}`)])
    const subject = { type: 'user', id: `goes-${n}` }
    const { body } = await api.post('/v1/erasures', { tenant: 'killed', subject, reason: 'r' })
    ids.push(body.id)
    const cutOff = [
      second.post(`/v1/approvals/${body.id}`, { decision: 'approve' }),
      api.post('/v1/rotations', { tenant: 'killed', key: 'subject' }),
    ].map((answer) => answer.catch(() => undefined))
    // From at once to when both are usually done.
    await rest((n * 120) / kills)
    await server.kill()
    await Promise.all(cutOff)
    await server.start()
  }
  for (const id of ids) {
    // Killed before the approval was stored: it is given again.
    if ((await second.get(`/v1/approvals/${id}`)).body.state === 'waiting')
      await second.post(`/v1/approvals/${id}`, { decision: 'approve' })
    for (let n = 0; n < 1_200 && (await second.get(`/v1/approvals/${id}`)).body.state !== 'done'; n++) await rest(50)
    expect((await second.get(`/v1/approvals/${id}`)).body.state).toBe('done')
  }
  const { body } = await api.get('/v1/events?tenant=killed&action=user.*&limit=100')
  const names = body.data.map(({ actor }: { actor: { name: string | null } }) => actor.name)
  expect(names.filter((name: string | null) => name === null)).toHaveLength(kills)
  expect(names.filter((name: string | null) => name?.includes('stays'))).toHaveLength(kills)
  expect((await api.post('/v1/rotations', { tenant: 'killed', key: 'subject' })).status).toBe(200)
  const all = { api, second, database }
  await notarized(all, 'killed')
  const later = Date.now() + 40 * 86_400_000
  expect(await judged(api, 'killed', { now: later })).toMatchObject({ outcome: 'held', findings: [] })
}, 240_000)
