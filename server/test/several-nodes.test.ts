// Four servers on one database and one folder of keys, all taking events of the same tenants at once, while one of them
// is killed: every trail stays one trail, and an id stands for one event wherever it was sent.
import { randomInt } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Acknowledged, checkTrails, type Kept, listAll, type Service } from './check-trail.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Load } from './faults-load.ts'
import { type ServerProcess, startProcess, temporaryFolder } from './server-process.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const tenants = ['acme', 'globex', 'initech', 'umbrella', 'hooli', 'stark']
let database: TestDatabase
let folder: string
let nodes: ServerProcess[]
let service: Service
const acknowledged: Acknowledged[] = []
const kept = new Map<string, Kept>()

beforeAll(async () => {
  database = await freshDatabase()
  folder = await temporaryFolder()
  const settings = { AFFIDAVIT_KEYS_DIR: join(folder, 'keys') }
  // All at once, on an empty folder: they agree on one set of keys, and one of them makes the operator key.
  nodes = await Promise.all([0, 1, 2, 3].map(() => startProcess({ databaseUrl: database.url, folder, settings })))
  service = { url: nodes[0]!.url, key: nodes[0]!.operatorKey }
})

afterAll(async () => {
  await Promise.all(nodes.map((node) => node.kill()))
  await database.drop()
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
})

async function expectWhole(): Promise<void> {
  expect(await checkTrails({ service, tenants, acknowledged, kept })).toEqual([])
}

async function post(node: ServerProcess, event: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${node.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(event),
    signal: AbortSignal.timeout(30_000),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

test('all four take events of the same tenants, and one is killed meanwhile', async () => {
  const load = new Load({
    urls: nodes.map(({ url }) => url),
    key: service.key,
    tenants,
    connections: 8,
    batch: 30,
  })
  load.start()
  while (load.acknowledged.length < 500) await sleep(10)
  await nodes[3]!.kill()
  await sleep(long ? 8_000 : 500)
  await nodes[3]!.start()
  await sleep(long ? 8_000 : 500)
  await load.stop()
  await load.settle()
  expect(load.wrong).toEqual([])
  expect(load.refused).toEqual([])
  acknowledged.push(...load.acknowledged)
  await expectWhole()
  for (const tenant of tenants) {
    const ids = (await listAll(service, tenant)).map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
  }
}, 240_000)

test('the same event sent to several nodes at once: one seals it, all give the same receipt', async () => {
  for (let round = 0; round < (long ? 40 : 15); round++) {
    const tenant = tenants[round % tenants.length]!
    const marker = `race-${round}`
    const event = {
      id: `race-${round}`,
      tenant,
      action: 'user.login',
      // A person nobody has met: all nodes make subject, key and persona at this moment.
      actor: { type: 'user', id: `racer_${round}`, name: `Racer ${round}`, email: `racer${round}@example.com` },
      metadata: { marker },
    }
    const answers = await Promise.all(nodes.map((node) => post(node, event)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 201])
    expect(new Set(answers.map(({ body }) => `${body.seq} ${body.hash} ${body.facts_salt}`)).size).toBe(1)
    for (const { body } of answers)
      acknowledged.push({
        id: event.id,
        tenant,
        marker,
        seq: body.seq as number,
        hash: body.hash as string,
        previous: body.previous_hash as string,
        receipt: body.receipt as string,
      })
  }
  await expectWhole()
})

test('one id with different contents at several nodes at once: one is sealed, the others are told', async () => {
  for (let round = 0; round < (long ? 20 : 8); round++) {
    const answers = await Promise.all(
      nodes.map((node, n) =>
        post(node, {
          id: `clash-${round}`,
          tenant: tenants[round % tenants.length],
          action: 'user.login',
          actor: { type: 'user', id: 'u' },
          metadata: { n },
        }),
      ),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
    for (const { status, body } of answers) if (status === 409) expect(body.code).toBe('id_reused')
  }
  await expectWhole()
})

test('a new tenant met by several nodes at once has one trail, which opens once', async () => {
  const fresh = Array.from({ length: 4 }, (_, n) => `fresh_${n}_${randomInt(1e6)}`)
  for (const tenant of fresh) {
    const event = { tenant, action: 'user.login', actor: { type: 'user', id: 'u' } }
    const answers = await Promise.all(nodes.map((node) => post(node, event)))
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201])
    expect(new Set(answers.map(({ body }) => body.trail)).size).toBe(1)
    expect(answers.map(({ body }) => body.seq).sort()).toEqual([1, 2, 3, 4])
  }
  const { rows } = await database.superuser.query(
    `select count(*) as n from affidavit.events where control like 'open %' and trail in
       (select t.number from affidavit.trails t join affidavit.tenants o on o.number = t.tenant where o.id = any($1))`,
    [fresh],
  )
  expect(rows[0].n).toBe(fresh.length)
})
