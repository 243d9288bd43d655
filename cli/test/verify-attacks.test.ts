// What a hostile operator may try on `affidavit verify` beyond bytes that are broken: to be believed, or to make the
// verifier stumble.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { type Entry, formatCheckpoint, formatVkey, type Payload, signNote, toBase64 } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nodeSha256 } from '../../trail/test/node-hash.ts'
import { signerUnder } from '../../trail/test/packed-succession.ts'
import { packOf } from '../../trail/test/sample-pack.ts'
import { REGISTRY } from '../../trail/test/sample-registry.ts'
import { LOG, makeTrail, SLOT, seededKey, trailId } from '../../trail/test/sample-trail.ts'
import { Expected } from '../src/verify/deep/expected.ts'
import { questionsOf } from '../src/verify/deep/questions.ts'
import { affidavit, verified } from './command-line.ts'
import { honestTrail, makeEpochs, makePlan, SampleServer, TENANT } from './sample-server.ts'

const trail = honestTrail(60)
const epochs = makeEpochs(7, () => trail)
let server: SampleServer
let folder: string
const at = (name: string) => join(folder, name)

beforeAll(async () => {
  server = await SampleServer.start({ trail, epochs })
  folder = await mkdtemp(join(tmpdir(), 'affidavit-attacks-'))
  await writeFile(at('pack.zip'), await packOf(trail))
})
afterAll(async () => {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

const visit = (...more: string[]) =>
  affidavit(['verify', server.url, '--tenant', TENANT, '--key', 'k', '--max-age', '9999d', '--json', ...more])

/** A record of the state file: `key` signed the head of `origin`. */
async function record(origin: string, key: Pick<typeof LOG, 'key' | 'signer'>) {
  return {
    origin,
    vkey: formatVkey(nodeSha256, origin, key.key.publicKey),
    checkpoint: await signNote(formatCheckpoint(origin, 9, new Uint8Array(32)), [signerUnder(origin, key)]),
    verified_at: new Date(0).toISOString(),
  }
}

test("another server whose log's name begins like a registry's origin does not take that registry's place", async () => {
  const path = at('state.json')
  expect((await visit('--state', path)).code).toBe(0)
  const state = JSON.parse(await readFile(path, 'utf8'))
  const evil = await record('log.example/registry-of-mine/registry', seededKey('evil'))
  state.registries.push({ ...evil, succeeded: [], recovery: [] })
  await writeFile(path, JSON.stringify(state))
  expect((await visit('--state', path)).code).toBe(0)
})

test('a server cannot withhold what no key lacks', async () => {
  let asked = 0
  server.instead = async (path, honest) => {
    const { body } = await honest()
    // No newer checkpoint is to be waited for.
    if (path.endsWith(`${TENANT}/checkpoint`) && asked++ > 0) return { status: 404, body: '{}' }
    if (path === `/v1/trails/${TENANT}`) {
      const withheld = ['confidential', 'operator', 'personal']
      return { body: JSON.stringify({ ...JSON.parse(String(body)), withheld }) }
    }
    return path.includes('/content?') ? { body: String(body).replace(/,"personal":\[.*?\}\]\}$/gm, '}') } : undefined
  }
  const { code, out } = await visit()
  server.instead = () => undefined
  expect(code).toBe(1)
  expect(out).toContain('"code": "unexplained"')
})

test('nor keep itself from being judged by naming keys that are none', async () => {
  server.instead = async (path, honest) => {
    if (path === '/v1/registry/vkeys') return { body: 'none\n' }
    if (path !== `/v1/trails/${TENANT}`) return undefined
    return { body: JSON.stringify({ ...JSON.parse(String((await honest()).body)), vkey: 'none' }) }
  }
  const { code, out } = await visit()
  server.instead = () => undefined
  expect(code).toBe(1)
  expect(out).toContain('"code": "not_signed"')
})

test('what is gone as announced is counted', async () => {
  const redacted = makeTrail(makePlan(60, new Map([[50, { control: { kind: 'redact', seqs: [7] } }]])))
  const payloads = redacted.payloads.map((payload) => (payload.seq === 7 ? { seq: 7 } : payload))
  server.shown = { trail: { ...redacted, payloads }, epochs: makeEpochs(7, () => redacted) }
  const { code, out } = await visit()
  server.shown = { trail, epochs }
  expect(code).toBe(0)
  expect(JSON.parse(out).notes).toContain('payloads and personal lines that are gone as announced: 1 by redact')
})

test('a second registry beside the first is none that takes its place', async () => {
  server.shown = { trail, epochs, registrySigner: signerUnder(`${REGISTRY}.1`, LOG) }
  const { code, out } = await visit('--vkey', LOG.vkey)
  server.shown = { trail, epochs }
  expect(code).toBe(1)
  expect(out).toContain('does not say which registry it continues')
})

test('a registry that is gone is evidence, whatever else was asked for', async () => {
  const path = at('with-registry.json')
  expect((await visit('--state', path)).code).toBe(0)
  await writeFile(at('authority.pem'), rootCertificates[0]!)
  server.instead = (address) => (address === '/v1/registry/checkpoint' ? { status: 404, body: '{}' } : undefined)
  const { code, out } = await visit('--state', path, '--tsa-ca', at('authority.pem'))
  const first = await visit('--tsa-ca', at('authority.pem'))
  server.instead = () => undefined
  expect(code).toBe(1)
  expect(out).toContain('"code": "registry_gone"')
  expect(first.code).toBe(2)
  expect(first.out).toContain('timestamps are over the registry, which cannot be read here')
})

test.each([
  ['none', 'null', 2],
  ['of what is no event', '{"data":[null,7,"event"],"next":null}', 1],
])('--deep does not stumble over a list %s', async (_name, body, expected) => {
  server.instead = (path) => (path.startsWith('/v1/events?') ? { body } : undefined)
  const { code, out } = await visit('--deep')
  server.instead = () => undefined
  expect(code).toBe(expected)
  expect(JSON.parse(out).verdicts.columns).toBe(expected === 1 ? 'failed' : 'unchecked')
})

test("a pack of another trail in the tenant's slot is no first visit", async () => {
  const before = `log.example/${trailId('before', SLOT)}`
  const state = { format: 'affidavit-state/1', trails: [await record(before, LOG)], registries: [] }
  await writeFile(at('before.json'), JSON.stringify(state))
  const told = await verified([at('pack.zip'), '--state', at('before.json')])
  expect(told).toMatchObject({ outcome: 'unchecked', exit_code: 2 })
  expect(told.findings.map(({ code }) => code)).toEqual(['other_trail'])
  expect(JSON.parse(await readFile(at('before.json'), 'utf8'))).toEqual(state)
  // Nothing is known of this slot's neighbours.
  const other = { ...state, trails: [await record(`log.example/${trailId('other', SLOT + 1)}`, LOG)] }
  await writeFile(at('other.json'), JSON.stringify(other))
  expect(await verified([at('pack.zip'), '--state', at('other.json')])).toMatchObject({ outcome: 'held' })
})

test('a broken key in a pack does not keep it from being judged, and no output carries what a terminal obeys', async () => {
  const origin = `\u009b2Jlog.example\u202e/${trail.entries[0]!.trail}`
  const vkeys = [`\u001b[2J${toBase64(LOG.key.publicKey)}`]
  await writeFile(at('terminal.zip'), await packOf(trail, { origin }, { vkeys }))
  for (const json of [[], ['--json']]) {
    const { code, out, err } = await affidavit(['verify', at('terminal.zip'), ...json])
    expect(code).toBe(1)
    expect(out + err).toContain('log.example')
    expect([...(out + err)].filter((one) => /[\p{Cc}\u202a-\u202e]/u.test(one) && one !== '\n')).toEqual([])
  }
})

test.each([
  ['a time in words', JSON.stringify({ occurred_at: '(\u001b[2J) 1 Jan 2026' })],
  ['a time that only begins like one', '{"occurred_at":"(((((((((((((x)))))))))))))2026","action":"a.b"}'],
  ['a name that stands twice', '{"action":"a.b","\\u0061ction":"c.d"}'],
  ['a number that no double holds', '{"metadata":{"a":1e400}}'],
  ['no JSON', 'action=a.b'],
  ['half a character in an id', '{"id":"\\ud800","action":"\\ud800"}'],
  ['depth', `{"metadata":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`],
  ['markers in markers', `{"metadata":${'{"$personal":'.repeat(20_000)}0${'}'.repeat(20_000)}}`],
])('--deep does not stumble over %s in facts', (_name, content) => {
  const expected = new Expected()
  const entry = { ...trail.entries[1]!, personal: [] } as Entry
  const payload: Payload = { seq: 1, facts: { salt: '', content } }
  expected.add(1, entry, payload, trail.leaves[1]!)
  const isCanonical = content.includes('occurred_at') || content.includes('ud800')
  expect(expected.ambiguous).toEqual(isCanonical ? [] : [1])
  const { questions, ids } = questionsOf(expected)
  for (const { filter } of questions) expect(filter).not.toContain('\u001b')
  for (const { id } of ids) expect(encodeURIComponent(id)).toBe(id)
})
