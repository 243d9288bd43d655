// Forgetting on the command line, against a real server: asked for with one key, approved with another, and the pack
// made afterwards is verified offline by the same program.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { event, type Forgetter, forgetter, notarized } from '../../server/test/forget-fixture.ts'
import { affidavit } from './command-line.ts'

let all: Forgetter
let folder: string

beforeAll(async () => {
  all = await forgetter()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-forget-'))
})
afterAll(async () => {
  await all?.stop()
  await rm(folder, { recursive: true, force: true })
})

const as = (key: string, ...args: string[]) => affidavit([...args, '--url', all.api.url, '--key', key])
const first = (...args: string[]) => as(all.api.key, ...args)
const second = (...args: string[]) => as(all.second.key, ...args)

test('ask, approve, pack, verify', async () => {
  await all.api.post('/v1/events/batch', [event('cli', 'anna'), event('cli', 'bob')])
  const asked = await first('forget', 'person', '--tenant', 'cli', '--id', 'anna', '--reason', 'asked')
  expect(asked).toMatchObject({ code: 0, out: expect.stringMatching(/^affidavit forget approve [0-9a-f-]{36}\n$/) })
  const id = asked.out.trim().split(' ').at(-1)!
  expect((await first('forget', 'approve', id)).err).toContain('[same_principal]')
  expect(await second('forget', 'approve', id)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^Done \(erase\)/),
  })
  expect((await second('forget', 'list', '--tenant', 'cli')).out).toMatch(/erase +done/)
  const secret = await first('forget', 'payload', '--tenant', 'cli', '--seq', '2', '--reason', 'a secret')
  expect((await second('forget', 'reject', secret.out.trim().split(' ').at(-1)!)).out).toContain('Rejected')
  expect((await first('forget', 'prune', '--tenant', 'cli')).err).toContain('Nothing is due')
  expect((await first('keys', 'rotate', '--tenant', 'cli')).out).toBe('Generation 2 is in use; destroyed: 1.\n')
  await notarized(all, 'cli')
  const pack = join(folder, 'cli.zip')
  expect(await first('pack', '--tenant', 'cli', '-o', pack)).toMatchObject({ code: 0 })
  const verdict = await affidavit(['verify', pack])
  expect(verdict).toMatchObject({ code: 0 })
})

test('holds: placed, listed with what waits, released by two', async () => {
  await all.api.post('/v1/events', event('cli-held', 'anna'))
  const hold = await first('holds', 'place', '--tenant', 'cli-held', '--reason', 'case 7')
  const id = hold.out.trim()
  expect(id).toMatch(/^[0-9a-f]{32}$/)
  const asked = await first('forget', 'person', '--tenant', 'cli-held', '--email', 'anna@example.com', '--reason', 'r')
  const held = await second('forget', 'approve', asked.out.trim().split(' ').at(-1)!)
  expect(held.out).toContain(`held by the legal hold ${id}`)
  expect((await second('holds', 'list', '--tenant', 'cli-held')).out).toMatch(/the whole trail.*in force +1/)
  const release = await first('holds', 'release', id, '--reason', 'closed')
  expect((await second('forget', 'approve', release.out.trim().split(' ').at(-1)!)).out).toContain('Done (release)')
  expect((await first('forget', 'person', '--tenant', 'cli-held', '--reason', 'r')).err).toContain(
    '--id or with --email',
  )
})

describe('one tenant sees and does nothing of another', () => {
  test('requests, holds, approvals, rotations', async () => {
    const scopes = ['forget:read', 'forget:request', 'forget:approve', 'holds:place', 'keys:rotate']
    await all.api.post('/v1/events/batch', [event('mine', 'anna'), event('theirs', 'anna')])
    const { body: key } = await all.api.post('/v1/keys', { name: 'Theirs', tenant: 'theirs', scopes })
    const theirs = all.api.with(key.key)
    const { body: act } = await all.api.post('/v1/erasures', {
      tenant: 'mine',
      subject: { type: 'user', id: 'anna' },
      reason: 'r',
    })
    const { body: hold } = await all.api.post('/v1/holds', { tenant: 'mine', from: 0, to: 1, reason: 'r' })
    const subject = { type: 'user', id: 'anna' }
    for (const [path, body] of [
      ['/v1/erasures', { tenant: 'mine', subject, reason: 'r' }],
      ['/v1/redactions', { tenant: 'mine', seqs: [1], reason: 'r' }],
      ['/v1/retentions', { tenant: 'mine', retention_days: 1, reason: 'r' }],
      ['/v1/truncations', { tenant: 'mine', size: 256, reason: 'r' }],
      ['/v1/deletions', { tenant: 'mine', reason: 'r' }],
      ['/v1/holds', { tenant: 'mine', reason: 'r' }],
      ['/v1/prunes', { tenant: 'mine' }],
      ['/v1/rotations', { tenant: 'mine', key: 'subject' }],
      [`/v1/approvals/${act.id}`, { decision: 'approve' }],
      [`/v1/holds/${hold.id}/release`, { reason: 'r' }],
    ] as const)
      expect([path, (await theirs.post(path, body)).status]).toEqual([path, 404])
    expect((await theirs.get(`/v1/erasures/${act.id}`)).status).toBe(404)
    expect((await theirs.get('/v1/approvals')).body.data).toEqual([])
    expect((await theirs.get('/v1/approvals?tenant=mine')).status).toBe(404)
    expect((await theirs.get('/v1/holds?tenant=mine')).status).toBe(404)
    // In their own house they may, and it is another anna.
    const own = await theirs.post('/v1/erasures', { tenant: 'theirs', subject, reason: 'r' })
    expect(own.status).toBe(202)
    expect((await all.api.post(`/v1/approvals/${own.body.id}`, { decision: 'approve' })).body.state).toBe('done')
    const shown = (await all.api.get('/v1/events?tenant=mine&actor=anna')).body.data
    expect(shown[0].actor.name).toBe('Name of anna')
    const reader = all.api.with(
      (await all.api.post('/v1/keys', { name: 'R', tenant: 'mine', scopes: ['verify'] })).body.key,
    )
    expect(await reader.post('/v1/erasures', { tenant: 'mine', subject, reason: 'r' })).toMatchObject({ status: 403 })
    expect((await reader.get('/v1/trails/mine')).body.withheld).toEqual(['confidential', 'operator'])
  })
})
