// A tenant's chain of trails on a real server: the old trail is still served, the new one stands in its slot, and the
// verifier goes through both; a chain that leaves entries out is told, with how many.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type ServerProcess, startProcess } from '../../server/test/server-process.ts'
import { verified } from './command-line.ts'

let database: TestDatabase
let server: ServerProcess
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-continued-'))
  database = await freshDatabase()
  server = await startProcess({ databaseUrl: database.url, settings: { AFFIDAVIT_REGISTRY_INTERVAL_MS: '500' } })
})
afterAll(async () => {
  await server?.remove()
  await database?.drop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

const headers = () => ({ authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' })

async function record(tenant: string, events: number): Promise<void> {
  const event = { tenant, action: 'user.login', actor: { type: 'user', id: 'u1' } }
  const body = JSON.stringify(Array.from({ length: events }, () => event))
  const reply = await fetch(`${server.url}/v1/events/batch`, { method: 'POST', headers: headers(), body })
  expect(await reply.json()).toMatchObject({ accepted: events, rejected: 0 })
}

const ask = async (path: string) => (await fetch(server.url + path, { headers: headers() })).text()
const trailOf = async (tenant: string) =>
  JSON.parse(await ask(`/v1/trails/${tenant}`)) as { trail: string; size: number; trails: string[] }

/** Until the newest epoch binds so many entries of the tenant's newest trail. */
async function bound(tenant: string, size: number): Promise<void> {
  for (const end = Date.now() + 90_000; Date.now() < end; await new Promise((done) => setTimeout(done, 300))) {
    const [{ trail }, slot] = [await trailOf(tenant), await ask(`/v1/trails/${tenant}/slot`)]
    if (slot.includes(`/${trail}\n${size}\n`)) return
  }
  throw new Error('no epoch binds it')
}

const verify = (tenant: string) =>
  verified([server.url, '--tenant', tenant, '--key', server.operatorKey, '--state', join(folder, `${tenant}.state`)])

test('each trail is checked, the new one in the slot of the old, and a gap between them is told', async () => {
  for (const tenant of ['whole', 'cut']) await record(tenant, 4)
  for (const tenant of ['whole', 'cut']) await bound(tenant, 5)
  for (const tenant of ['whole', 'cut']) expect(await verify(tenant)).toMatchObject({ outcome: 'held', findings: [] })
  const before = await trailOf('whole')

  await server.kill()
  // As a restore leaves it behind that has the old trail, too; of the one only four of its five entries are continued.
  await database.superuser.query(
    `with old as (
       select n.id, n.number as tenant, t.id as trail, t.shard, z.size, z.root from affidavit.tenants n
         join affidavit.trails t on t.tenant = n.number join affidavit.notarized z on z.trail = t.number
         where n.id in ('whole', 'cut')),
     made as (
       select old.*, affidavit.continue_trail(tenant, (left(trail::text, 8) || right($1, 24))::uuid, shard) as number from old)
     insert into affidavit.continued (trail, continues, size, root)
       select number, trail, case id when 'cut' then size - 1 else size end, root from made`,
    [randomBytes(16).toString('hex')],
  )
  await server.start()
  for (const tenant of ['whole', 'cut']) await record(tenant, 2)
  for (const tenant of ['whole', 'cut']) await bound(tenant, 4)

  const after = await trailOf('whole')
  expect(after.trails).toEqual([before.trail, after.trail])
  expect(after.trail.slice(0, 8)).toBe(before.trail.slice(0, 8))
  const whole = await verify('whole')
  expect(whole.findings).toEqual([])
  expect(whole).toMatchObject({
    outcome: 'held',
    assurance: 'anchored',
    verdicts: { trails: 'held', registry: 'held' },
  })
  const cut = await verify('cut')
  expect(cut).toMatchObject({ outcome: 'tampered', exit_code: 1, verdicts: { trails: 'failed' } })
  const [gap] = cut.findings.filter(({ code }) => code === 'entries_lost')
  expect(gap!.message).toMatch(/at 4 entries, but/)
  expect(gap!.message).toContain('4 to 4 are lost')
}, 300_000)
