// A database that is older than its epoch objects, or gone: a real server is restored, recovers, and the real verifier,
// which remembers what it saw before, judges.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runnable } from '../../server/test/packed.ts'
import { isAlive, ServerProcess, temporaryFolder } from '../../server/test/server-process.ts'
import { affidavit, type Told, verified } from './command-line.ts'

const { NODE_COMPILE_CACHE } = process.env
const long = process.env.AFFIDAVIT_LONG === '1'
let root: string
let server: ServerProcess
let key: string
const settings = () => ({
  AFFIDAVIT_OBJECTS: join(root, 'objects'),
  AFFIDAVIT_KEYS_DIR: join(root, 'keys'),
  AFFIDAVIT_LOG_NAME: 'audit.example.com',
  AFFIDAVIT_REGISTRY_INTERVAL_MS: '500',
  AFFIDAVIT_SCRUB_EVENTS: '0',
})
const environment = () => ({ PATH: process.env.PATH!, AFFIDAVIT_DATA_DIR: server.folder, ...settings() })

beforeAll(async () => {
  root = await temporaryFolder()
  await mkdir(join(root, 'data'))
  server = new ServerProcess(join(root, 'data'), { settings: settings() })
  await server.start()
  key = server.operatorKey
})
afterAll(async () => {
  await server?.remove()
  if (root) await rm(root, { recursive: true, force: true, maxRetries: 5 })
})

async function api<T>(path: string, body?: object, with_ = key): Promise<T> {
  const response = await fetch(server.url + path, {
    headers: { authorization: `Bearer ${with_}`, 'content-type': 'application/json' },
    ...(body && { method: 'POST', body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}\n${server.log}`)
  return (await response.json()) as T
}

async function record(tenant: string, ids: readonly string[]): Promise<void> {
  const events = ids.map((id, n) => ({
    id,
    tenant,
    action: 'document.read',
    actor: { type: 'user', id: `user_${n % 3}`, name: `Person ${n % 3}`, email: `p${n % 3}@example.com` },
  }))
  expect(await api('/v1/events/batch', { events })).toMatchObject({ rejected: 0 })
}

interface Listed {
  seq: number
  id?: string
  hash: string
  control?: string
  redacted?: true
  actor?: { name: string | null }
}

async function listed(tenant: string): Promise<Listed[]> {
  const { data } = await api<{ data: Listed[] }>(`/v1/events?tenant=${tenant}&order=asc&limit=1000&control=true`)
  return data
}

/** Until an epoch holds all that was sealed in a tenant's trail. */
async function bound(tenant: string): Promise<void> {
  for (const until = Date.now() + 90_000; ; await sleep(300)) {
    const { size } = await api<{ size: number }>(`/v1/trails/${tenant}`).catch(() => ({ size: 0 }))
    const newest = `/v1/events?tenant=${tenant}&control=true&limit=1`
    const sealed = (await api<{ data: Listed[] }>(newest)).data[0]!.seq + 1
    const response = await fetch(`${server.url}/v1/trails/${tenant}/slot?epoch=latest`, {
      headers: { authorization: `Bearer ${key}` },
    })
    const proof = await response.text()
    if (size === sealed && proof.includes(`\n${sealed}\n`)) return
    if (Date.now() > until) throw new Error(`${tenant}: ${size} of ${sealed} under a checkpoint; ${proof}`)
  }
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}${n}`)
const state = (tenant: string) => join(root, `${tenant}.state`)

/** Verifies with what was remembered from the visits before. */
const judged = (tenant: string, at = state(tenant)): Promise<Told> =>
  verified([server.url, '--tenant', tenant, '--state', at], { AFFIDAVIT_KEY: key })

async function done(...args: string[]): Promise<void> {
  const { code, out, err } = await affidavit(args, environment())
  if (code !== 0) throw new Error(`${args.join(' ')}: exit code ${code}\n${out}${err}`)
}

/** The recovery alone, killed at a step. */
async function killedAt(step: string): Promise<void> {
  const entry = runnable('server/test/recovery-process-entry.ts')
  const child = spawn(process.execPath, [entry, step], {
    env: { ...environment(), NODE_COMPILE_CACHE },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const [, signal] = await once(child, 'close')
  if (signal !== 'SIGKILL') throw new Error(`${step} was not reached: ${output}`)
}

let before: Map<string, Listed[]>

test('a database from before the last epochs gets their entries back, and says that their payloads are lost', async () => {
  await record('acme', names('kept', 40))
  await bound('acme')
  await done('backup', join(root, 'backups'))
  await record('acme', names('later', 300))
  await record('young', names('only', 20))
  await bound('acme')
  await bound('young')
  // A person is forgotten after the backup.
  const { key: second } = await api<{ key: string }>('/v1/keys', {
    name: 'Second',
    scopes: ['forget:approve', 'forget:read'],
  })
  const { id } = await api<{ id: string }>('/v1/erasures', {
    tenant: 'acme',
    subject: { type: 'user', id: 'user_1' },
    reason: 'asked for it',
  })
  await api(`/v1/approvals/${id}`, { decision: 'approve' }, second)
  await expect
    .poll(async () => (await api<Listed>('/v1/events/kept1?tenant=acme')).actor?.name, { timeout: 60_000 })
    .toBe(null)
  await bound('acme')
  before = new Map([
    ['acme', await listed('acme')],
    ['young', await listed('young')],
  ])
  for (const tenant of ['acme', 'young']) expect(await judged(tenant)).toMatchObject({ outcome: 'held', findings: [] })
  await server.kill()

  await done('restore', join(root, 'backups'), '--replace')
  for (const step of long ? ['begun', 'entries', 'epoch', 'forgotten', 'finished'] : ['entries', 'forgotten'])
    await killedAt(step)
  await server.start()
  key = server.operatorKey
  for (const [tenant, entries] of before) {
    const after = await listed(tenant)
    // The same entries with the same hashes, and then what was lost.
    expect(after.slice(0, entries.length).map(({ hash }) => hash)).toEqual(entries.map(({ hash }) => hash))
    expect(after.slice(entries.length).map(({ control }) => control)).toContainEqual(
      expect.stringMatching(/^lost \d+ \d+$/),
    )
  }
  const acme = await listed('acme')
  expect(acme.find(({ id }) => id === 'kept0')?.actor?.name).toBe('Person 0')
  expect(acme.find(({ id }) => id === 'kept1')?.actor?.name).toBe(null)
  expect(acme.filter(({ redacted }) => redacted)).toHaveLength(
    before.get('acme')!.filter(({ seq, control }) => seq > 40 && control === undefined).length,
  )
  // It goes on, and who remembers the trail from before finds it whole.
  await record('acme', names('again', 10))
  await record('young', names('again', 10))
  for (const tenant of ['acme', 'young']) {
    await bound(tenant)
    expect(await judged(tenant)).toMatchObject({ outcome: 'held', findings: [] })
  }
}, 300_000)

test('a data folder that is gone comes back from Objects and keys: all proofs, no payloads', async () => {
  await bound('acme')
  const seen = await listed('acme')
  await server.kill()
  const postgres = server.postgresPid!
  process.kill(postgres, 'SIGQUIT')
  while (isAlive(postgres)) await sleep(20)
  await rm(join(root, 'data'), { recursive: true, force: true, maxRetries: 5 })
  await mkdir(join(root, 'data'))
  await server.start()
  key = server.operatorKey
  const after = await listed('acme')
  expect(after.slice(0, seen.length).map(({ hash }) => hash)).toEqual(seen.map(({ hash }) => hash))
  expect(after[seen.length]!.control).toMatch(/^lost 0 \d+$/)
  await record('acme', names('anew', 10))
  await bound('acme')
  expect(await judged('acme')).toMatchObject({ outcome: 'held', findings: [] })
  expect((await readFile(state('acme'), 'utf8')).length).toBeGreaterThan(0)
}, 200_000)

test('database and Objects gone: new trails continue what a pack and the registry vouch for, and the verifier tells', async () => {
  await record('acme', names('last', 5))
  await bound('acme')
  const pack = join(root, 'acme.zip')
  const packed = await affidavit(['pack', '--tenant', 'acme', '-o', pack, '--url', server.url, '--key', key])
  expect(packed).toMatchObject({ code: 0 })
  const registry = join(root, 'registry.checkpoint')
  expect(await judged('acme')).toMatchObject({ outcome: 'held' })
  // The copy is of what this customer saw: an epoch later, and somebody has seen more than is left.
  const { registries } = JSON.parse(await readFile(state('acme'), 'utf8')) as { registries: { checkpoint: string }[] }
  await writeFile(registry, registries[0]!.checkpoint)
  // What another customer saw after the copy was taken is lost.
  const later = join(root, 'later.state')
  await record('acme', names('unseen', 5))
  await bound('acme')
  expect(await judged('acme', later)).toMatchObject({ outcome: 'held' })
  const old = (await api<{ trail: string }>('/v1/trails/acme')).trail

  const from = ['restore', '--continue-from', `acme=${pack}`, '--continue-from', registry]
  expect(await affidavit(from, environment())).toMatchObject({ code: 2, err: expect.stringContaining('epoch objects') })
  await server.stop()
  for (const gone of ['data', 'objects']) await rm(join(root, gone), { recursive: true, force: true, maxRetries: 5 })
  await mkdir(join(root, 'data'))
  await done(...from)
  expect(await affidavit(from, environment())).toMatchObject({ code: 2, err: expect.stringContaining('not empty') })
  await server.start()
  key = server.operatorKey
  await record('acme', names('new', 5))
  await bound('acme')
  const { trail, size } = await api<{ trail: string; size: number }>('/v1/trails/acme')
  expect(trail).not.toBe(old)
  expect(trail.slice(0, 8)).toBe(old.slice(0, 8)) // the same slot
  const entries = await listed('acme')
  expect(entries.slice(0, 2).map(({ control }) => control?.split(' ')[0])).toEqual(['open', 'continues'])
  expect(size).toBe(7)
  // Who saw no more than the pack holds loses nothing unseen; who saw more is told how much.
  const calm = await judged('acme')
  expect(calm).toMatchObject({ outcome: 'held', verdicts: { trails: 'held', registry: 'held' } })
  const told = await judged('acme', later)
  expect(told).toMatchObject({ outcome: 'tampered' })
  expect(told.findings.map(({ code }) => code)).toContain('entries_lost')
}, 200_000)
