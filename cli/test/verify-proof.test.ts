// `affidavit verify` on tlog-proof files: a proof of one entry, under keys and policies that the verifier brings.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatTlogProof, proveInclusion, toHex } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nodeSha256 } from '../../trail/test/node-hash.ts'
import { cosigned, makeEpoch, REGISTRY, REGISTRY_VKEY, SampleLog, WITNESSES } from '../../trail/test/sample-registry.ts'
import { LOG, makeTrail, OPEN, ORIGIN, readNode, seededKey, signedCheckpoint } from '../../trail/test/sample-trail.ts'
import { affidavit } from './command-line.ts'

let folder: string
const at = (name: string) => join(folder, name)
const trail = makeTrail(Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
const registry = new SampleLog([1, 2, 3].map((epoch) => makeEpoch(epoch, epoch, trail, 1).entry))
const [leaf, other] = [toHex(trail.leaves[5]!), toHex(trail.leaves[6]!)]
const epoch = toHex(registry.leaves[1]!)
const [first, second] = WITNESSES.map(({ vkey }) => vkey) as [string, string]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-proof-'))
  const proof = await proveInclusion(nodeSha256, readNode(trail), 5, 9)
  const file = formatTlogProof({ index: 5, proof, checkpoint: await signedCheckpoint(trail) })
  await writeFile(at('entry.tlog-proof'), file)
  await writeFile(at('forged.tlog-proof'), file.replace('\n9\n', '\n8\n'))
  await writeFile(at('broken.tlog-proof'), file.replace('index 5', 'index 05'))
  await writeFile(at('newer.tlog-proof'), file.replace('@v1', '@v2'))
  const own = await registry.proof(1)
  await writeFile(at('epoch.tlog-proof'), formatTlogProof({ ...own, checkpoint: await cosigned(own.checkpoint) }))
  await writeFile(
    at('policy'),
    `log ${REGISTRY_VKEY}\nwitness a ${first}\nwitness b ${second}\ngroup g all a b\nquorum g\n`,
  )
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const verify = (name: string, ...args: string[]) => affidavit(['verify', at(name), ...args])

test('a proof of an entry holds under the key of its log, or of any log of the deployment', async () => {
  for (const vkey of [LOG.vkey, REGISTRY_VKEY]) {
    const { code, out } = await verify('entry.tlog-proof', '--hash', leaf, '--vkey', vkey)
    expect(out).toContain(ORIGIN)
    expect(out).toContain('PROVEN: the entry stands at 5 of 9.')
    expect(code).toBe(0)
  }
})

test('as JSON', async () => {
  const { out } = await verify('entry.tlog-proof', '--hash', leaf, '--vkey', LOG.vkey, '--json')
  expect(JSON.parse(out)).toEqual({ outcome: 'held', origin: ORIGIN, index: 5, size: 9, cosigned: [], exit_code: 0 })
  const { out: refused } = await verify('entry.tlog-proof', '--hash', other, '--vkey', LOG.vkey, '--json')
  expect(JSON.parse(refused)).toEqual({ outcome: 'refused', code: 'inclusion', exit_code: 2 })
})

test.each([
  ['another entry', 'entry.tlog-proof', ['--hash', other, '--vkey', LOG.vkey], 'does not lead from this entry'],
  ['a key that did not sign', 'entry.tlog-proof', ['--hash', leaf, '--vkey', seededKey('x.example/y').vkey], 'no key'],
  ['a changed checkpoint', 'forged.tlog-proof', ['--hash', leaf, '--vkey', LOG.vkey], 'signed it wrongly'],
])('%s: not proven, and no evidence of anything', async (_, name, args, why) => {
  const { code, out } = await verify(name, ...args)
  expect(out).toContain(`NOT PROVEN: `)
  expect(out).toContain(why)
  expect(code).toBe(2)
})

test('the registry has witnesses: a policy asks for them there, and not on a trail', async () => {
  const { code, out } = await verify('epoch.tlog-proof', '--hash', epoch, '--policy', at('policy'))
  expect(out).toContain(`Log       ${REGISTRY}`)
  expect(out).toContain('Witness   a, 2026-03-10T18:43:14.000Z')
  expect(code).toBe(0)
  expect((await verify('entry.tlog-proof', '--hash', leaf, '--policy', at('policy'))).code).toBe(0)
  const args = ['--hash', leaf, '--vkey', LOG.vkey, '--witness', first]
  expect((await verify('entry.tlog-proof', ...args)).out).toContain('too few of the witnesses')
})

test.each([
  ['no hash', 'entry.tlog-proof', ['--vkey', LOG.vkey], '--hash HEX'],
  ['half a hash', 'entry.tlog-proof', ['--vkey', LOG.vkey, '--hash', 'ab'], '--hash HEX'],
  ['no key', 'entry.tlog-proof', ['--hash', leaf], '--vkey KEY'],
  ['a malformed file', 'broken.tlog-proof', ['--hash', leaf, '--vkey', LOG.vkey], '[malformed]'],
  ['a newer file', 'newer.tlog-proof', ['--hash', leaf, '--vkey', LOG.vkey], '[unknown_version]'],
])('%s: could not be checked', async (_, name, args, why) => {
  const { code, err } = await verify(name, ...args)
  expect(err).toContain(why)
  expect(code).toBe(2)
})
