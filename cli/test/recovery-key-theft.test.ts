// A thief of the log key wants to keep it: he announces a recovery key of his own, so that verifiers call the owner's
// recovery a forgery and follow his. They hold on to the first one, and say that somebody tried.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ED25519, formatVkey } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sha256 } from '../../server/src/store/sha256.ts'
import { type Forgetter, forgetter, judged, notarized } from '../../server/test/forget-fixture.ts'
import { type ForgetNode, forgetNode } from '../../server/test/forget-node.ts'
import { checkChain } from '../src/verify/brought/chain.ts'
import { verified } from './command-line.ts'

let all: Forgetter
let thief: ForgetNode
beforeAll(async () => {
  all = await forgetter({ AFFIDAVIT_REGISTRY_INTERVAL_MS: '300' })
  // He has the key folder, and the database.
  thief = await forgetNode({ login: all.database.url, dataDir: all.server.dataDir })
})
afterAll(async () => {
  await thief?.stop()
  await all?.stop()
})

const vkeyOf = (name: string, seed: string) => formatVkey(sha256, name, sha256(Buffer.from(seed)), ED25519)
const state = () => join(all.server.dataDir, 'visitor.json')
const visit = (...more: string[]) => verified([all.server.url, '--tenant', 'acme', '--key', all.server.key, ...more])
const keptRecovery = async () => JSON.parse(await readFile(state(), 'utf8')).registries[0].recovery

test('an entry that announces another recovery key is a finding, and is not followed', async () => {
  await all.api.post('/v1/events', { tenant: 'acme', action: 'user.login', actor: { type: 'user', id: 'u' } })
  await notarized(all, 'acme')
  await expect.poll(async () => (await all.api.get('/v1/registry/checkpoint')).status, { timeout: 30_000 }).toBe(200)
  expect(await visit('--state', state())).toMatchObject({ outcome: 'held' })
  const before = await keptRecovery()
  expect(before).toHaveLength(1)

  const tenant = await thief.tenant('acme')
  const { origin } = (await all.api.get('/v1/trails/acme')).body
  const seq = await thief.announce(tenant, { kind: 'keys', about: 'recovery', vkeys: [vkeyOf(origin, 'thief')] })
  await notarized(all, 'acme')
  const finding = { verdict: 'chain', code: 'recovery_replaced', seq }
  for (const told of [await visit('--state', state()), await visit()])
    expect(told).toMatchObject({ exit_code: 1, first_wrong: seq, findings: [expect.objectContaining(finding)] })
  expect(await judged(all.api, 'acme')).toMatchObject({
    outcome: 'tampered',
    findings: [expect.objectContaining(finding)],
  })
  expect(await keptRecovery()).toEqual(before)
})

test('so is a later trail that is opened with another one', () => {
  const link = (id: string, key: string) => {
    const origin = `log.example/00000065${id.repeat(24)}`
    const recovery = [vkeyOf(origin, key)]
    const control = {
      kind: 'open' as const,
      origin,
      retention: 'forever' as const,
      log: [vkeyOf(origin, 'log')],
      recovery,
    }
    return {
      origin,
      size: 1,
      root: undefined,
      announcements: [{ seq: 0, sealedAt: '2026-03-10T18:00:00.000Z', control }],
    }
  }
  const codes = (known: string[], ...links: ReturnType<typeof link>[]) =>
    checkChain(links, () => [], known).findings.map(({ code }) => code)
  const own = vkeyOf('log.example/registry', 'own')
  expect(codes([], link('a', 'own'))).toEqual([])
  expect(codes([own], link('a', 'own'))).toEqual([]) // whatever name it is pinned under
  expect(codes([own], link('b', 'thief'))).toEqual(['recovery_replaced'])
  expect(codes([], link('a', 'own'), link('b', 'thief'))).toContain('recovery_replaced')
})
