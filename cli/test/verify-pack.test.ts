// `affidavit verify` on pack files: made from a trail in memory, broken in every way that changes the verdict.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Payload } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packOf } from '../../trail/test/sample-pack.ts'
import { LOG, makeTrail, OPEN, ORIGIN, seededKey, signedCheckpoint } from '../../trail/test/sample-trail.ts'
import { affidavit, verified } from './command-line.ts'

let folder: string
const at = (name: string) => join(folder, name)
const trail = makeTrail(Array.from({ length: 300 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-verify-'))
  await writeFile(at('whole.zip'), await packed())
  await writeFile(at('old.txt'), await signedCheckpoint(trail, 123))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const packed = (changed = (payload: Payload) => payload, ranges = [{ from: 0, to: 300 }]) =>
  packOf(trail, { ranges }, { content: (seqs) => seqs.map((seq) => changed(trail.payloads[seq]!)) })

test('an untouched pack holds, and says what that is worth without an anchor', async () => {
  const { code, out } = await affidavit(['verify', at('whole.zip')])
  expect(code).toBe(0)
  expect(out).toContain('HELD, tamper-detecting only')
  expect(out).toContain('not checked: no checkpoint kept earlier was given')
})

test('with a pinned key or a kept checkpoint it is anchored', async () => {
  const pinned = await verified([at('whole.zip'), '--vkey', LOG.vkey])
  expect(pinned).toMatchObject({ outcome: 'held', assurance: 'anchored', verdicts: { anchors: 'held' } })
  const kept = await verified([at('whole.zip'), '--checkpoint', at('old.txt')])
  expect(kept).toMatchObject({ outcome: 'held', assurance: 'anchored', verdicts: { consistency: 'held' } })
})

test('a key that did not sign is evidence', async () => {
  const told = await verified([at('whole.zip'), '--vkey', seededKey(ORIGIN, 'other').vkey])
  expect(told).toMatchObject({ outcome: 'tampered', verdicts: { signature: 'failed', anchors: 'failed' } })
})

test('a kept checkpoint that the key given did not sign accuses nobody', async () => {
  const args = ['verify', at('whole.zip'), '--checkpoint', at('old.txt'), '--vkey']
  expect(await affidavit([...args, LOG.vkey])).toMatchObject({ code: 0 })
  expect(await affidavit([...args, seededKey(ORIGIN, 'other').vkey])).toMatchObject({
    code: 2,
    err: expect.stringContaining('is not signed by the key given'),
  })
})

test('where only the signature fails, the key is to be compared first', async () => {
  const { code, out } = await affidavit(['verify', at('whole.zip'), '--vkey', seededKey(ORIGIN, 'other').vkey])
  expect(code).toBe(1)
  expect(out).toContain('TAMPERED: the trail agrees with itself, but the key that you brought did not sign it.')
})

test('each checkpoint that was brought is compared, and those of other trails are told', async () => {
  const other = await signedCheckpoint({ ...trail, leaves: trail.leaves.with(3, new Uint8Array(32)) }, 100)
  await writeFile(at('other-history.txt'), other)
  const args = [at('whole.zip'), '--checkpoint', at('old.txt'), '--checkpoint', at('other-history.txt')]
  expect(await verified(args)).toMatchObject({ outcome: 'tampered', verdicts: { consistency: 'failed' } })
  const [, ...rest] = other.split('\n')
  await writeFile(at('other-trail.txt'), ['log.example/else', ...rest].join('\n'))
  const told = await verified([...args.slice(0, 4), at('other-trail.txt')])
  expect(told).toMatchObject({ outcome: 'held', verdicts: { consistency: 'held' } })
  expect(told.notes.join()).toContain('checkpoints of other trails')
  expect(told.subject.against).toEqual([`the checkpoint in ${at('old.txt')} (size 123)`])
  expect(await verified([at('whole.zip'), '--checkpoint', at('other-trail.txt')])).toMatchObject({ exit_code: 2 })
})

test('where no key was brought, none is said to be wrong', async () => {
  await writeFile(at('other-key.zip'), await packOf(trail, {}, { vkeys: [seededKey(ORIGIN, 'other').vkey] }))
  const { code, out } = await affidavit(['verify', at('other-key.zip')])
  expect(code).toBe(1)
  expect(out).toContain('TAMPERED: see the findings above.')
})

test('a changed payload is evidence, its seq is named, and it comes first', async () => {
  const edit = (payload: Payload): Payload =>
    payload.seq === 41 || payload.seq === 277
      ? { ...payload, facts: { ...payload.facts!, content: '{"action":"innocent"}' } }
      : payload
  await writeFile(at('edited.zip'), await packed(edit))
  const told = await verified([at('edited.zip')])
  expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1, first_wrong: 41 })
  expect(told.findings.map(({ seq }) => seq)).toEqual([41, 277])
  const { out } = await affidavit(['verify', at('edited.zip')])
  expect(out).toContain('TAMPERED: the first wrong entry is 41.')
})

test('one flipped byte anywhere never passes', async () => {
  const bytes = await packed()
  const codes = new Set<number>()
  for (let i = 0; i < 25; i++) {
    const place = Math.floor(((i + 0.5) * bytes.length) / 25)
    const flipped = bytes.slice()
    flipped[place] = flipped[place]! ^ 0x10
    await writeFile(at('flipped.zip'), flipped)
    const { code, err } = await affidavit(['verify', at('flipped.zip')])
    codes.add(code)
    if (code === 2) expect(err).toMatch(/^affidavit: .*flipped\.zip could not be checked: .+ \[\w+\]\. .+\n$/)
  }
  expect(codes).not.toContain(0)
})

test('a pack of a range says what it covers', async () => {
  await writeFile(at('range.zip'), await packed(undefined, [{ from: 260, to: 270 }]))
  const told = await verified([at('range.zip')])
  expect(told).toMatchObject({ outcome: 'held', subject: { covered: 10, size: 300 } })
  expect(told.notes).toContain('the pack covers 260 to 269 of 300 entries')
})

test('a state file pins the first visit, and a pack older than it is still checked with its key', async () => {
  const first = await verified([at('whole.zip'), '--state', at('state.json')])
  expect(first).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only' })
  expect(await verified([at('whole.zip'), '--state', at('state.json')])).toMatchObject({
    outcome: 'held',
    assurance: 'anchored',
    verdicts: { consistency: 'held' },
  })
  await writeFile(at('older.zip'), await packOf(trail, { size: 200, ranges: [{ from: 0, to: 200 }] }))
  const older = await verified([at('older.zip'), '--state', at('state.json')])
  expect(older).toMatchObject({ outcome: 'held', assurance: 'anchored' })
  expect(older.notes.join()).toContain('newer than the pack')
})

test.each([
  ['no file', ['verify', 'absent.zip'], 'absent.zip cannot be read: there is no such file.'],
  ['a folder', ['verify', tmpdir()], 'is no file.'],
  ['no pack', ['verify', import.meta.filename], 'could not be checked'],
  ['no vkey', ['verify', 'x.zip', '--vkey', 'nonsense'], '--vkey: '],
  ['no checkpoint', ['verify', 'x.zip', '--checkpoint', import.meta.filename], 'is none'],
  ['no state file', ['verify', 'x.zip', '--state', import.meta.filename], 'is no state file'],
  ['server options on a pack', ['verify', 'x.zip', '--deep'], 'are for servers'],
  ['no subject', ['verify'], "missing required argument 'pack file | URL'"],
  ['an unknown option', ['verify', 'x.zip', '--depp'], 'Did you mean --deep?'],
  ['an unknown command', ['verfiy'], 'Did you mean verify?'],
])('%s: exit 2 and a sentence', async (_name, args, sentence) => {
  const { code, err, out } = await affidavit(args)
  expect(code).toBe(2)
  expect(err).toContain(sentence)
  expect(out).toBe('')
})
