// Files that are no packs, or packs that somebody bent: exit 2 and a sentence, never a crash, never a pass, never much
// memory. What is bent here is the container; edited contents are in verify-pack.test.ts.
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { concatBytes, DirectoryWriter, type Manifest, writePack } from '@affidavit/trail'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nodeSha256 } from '../../trail/test/node-hash.ts'
import { ascii, collect, LOG, makeTrail, manifestOf, OPEN, sourceOf } from '../../trail/test/sample-trail.ts'
import { readCopies } from '../src/verify/file/copies.ts'
import { affidavit } from './command-line.ts'

const trail = makeTrail(Array.from({ length: 300 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
let folder: string
let good: Uint8Array

async function packOf(changes: Partial<Manifest> = {}): Promise<Uint8Array> {
  const manifest = manifestOf(trail, changes)
  const optional = async (path: string) => ascii.encode(`${path}\n`)
  return collect(writePack(nodeSha256, manifest, await sourceOf(trail, manifest, { optional })))
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-malformed-'))
  good = await packOf()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function refused(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'bent.zip')
  await writeFile(path, bytes)
  const before = process.memoryUsage.rss()
  const { code, err, out } = await affidavit(['verify', path])
  expect([code, out]).toEqual([2, ''])
  expect(process.memoryUsage.rss() - before).toBeLessThan(300 * 2 ** 20)
  const told = /^affidavit: .*bent\.zip could not be checked: [^\n]+ \[(\w+)\]\.[^\n]*\n$/.exec(err)
  expect(told, err).not.toBeNull()
  return told![1]!
}

interface Member {
  readonly path: string
  readonly data?: Uint8Array
  readonly packed?: Uint8Array
  /** What the headers state instead of the truth. */
  readonly size?: number
  readonly stored?: boolean
}

/** A container in its only form over members of whatever kind. */
function zip(members: readonly Member[]): Uint8Array {
  const directory = new DirectoryWriter()
  const parts = members.flatMap(({ path, data = new Uint8Array(0), packed, size, stored = false }) => {
    const bytes = packed ?? (stored ? data : deflateRawSync(data))
    const entry = { path, stored, crc: 0, packedSize: bytes.length, size: size ?? data.length, offset: 0 }
    const record = directory.add({ ...entry, digest: nodeSha256(bytes) })
    return [localOf(record, path), bytes]
  })
  return concatBytes([...parts, ...directory.finish()])
}

/** The local header that belongs to a record of the directory (docs/spec/pack.md). */
function localOf(record: Uint8Array, path: string): Uint8Array {
  const header = new Uint8Array(30 + path.length)
  header.set([0x50, 0x4b, 3, 4, 20, 0])
  header.set(record.subarray(8, 30), 6)
  header.set(ascii.encode(path), 30)
  return header
}

const manifestText = (text: string) => zip([{ path: 'manifest.json', data: ascii.encode(text) }])
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const bent = (change: (copy: Uint8Array, view: DataView) => void) => {
  const copy = good.slice()
  change(copy, view(copy))
  return copy
}
const endAt = () => good.length - 98

test.each<[string, string, () => Uint8Array | Promise<Uint8Array>]>([
  ['nothing', 'truncated', () => new Uint8Array(0)],
  ['another kind of file', 'not_a_pack', () => ascii.encode('%PDF-1.7\n'.repeat(100))],
  ['a few letters', 'not_a_pack', () => ascii.encode('hello')],
  ['a ZIP of another program', 'not_a_pack', () => concatBytes([good.subarray(0, 200), good.slice(-22).fill(0, 4)])],
  ['a pack without its end', 'truncated', () => good.subarray(0, good.length - 98)],
  ['a pack without its last byte', 'truncated', () => good.subarray(0, good.length - 1)],
  ['a pack with one byte more', 'truncated', () => concatBytes([good, Uint8Array.of(0)])],
  ['a pack behind another file', 'damaged', () => concatBytes([ascii.encode('#!/bin/sh\n'), good])],
  ['a directory of 2^60 members', 'damaged', () => bent((_, v) => v.setBigUint64(endAt() + 32, 2n ** 60n, true))],
  ['a directory that lies elsewhere', 'damaged', () => bent((_, v) => v.setBigUint64(endAt() + 48, 7n, true))],
  ['a directory larger than the file', 'damaged', () => bent((_, v) => v.setBigUint64(endAt() + 40, 2n ** 40n, true))],
  [
    'one member too few counted',
    'damaged',
    () =>
      bent((_, v) => {
        for (const at of [24, 32]) v.setBigUint64(endAt() + at, v.getBigUint64(endAt() + at, true) - 1n, true)
      }),
  ],
  ['a path that climbs', 'members', () => zip([{ path: '../../etc/passwd', data: ascii.encode('x') }])],
  ['a path from the root', 'members', () => zip([{ path: '/etc/passwd', data: ascii.encode('x') }])],
  ['a path that steers a terminal', 'members', () => zip([{ path: 'a\u001b[2J', data: ascii.encode('x') }])],
  ['no manifest', 'members', () => zip([{ path: 'checkpoint', data: ascii.encode('x') }])],
  ['a manifest that is no JSON', 'malformed', () => manifestText('{')],
  ['a manifest of something else', 'malformed', () => manifestText('{"format":"other/1"}')],
  ['a manifest of the next format', 'unknown_version', () => manifestText('{"format":"affidavit-pack/2"}')],
  ['members of up to ten gigabytes', 'too_large', () => packOf({ limit: 10 * 2 ** 30 })],
  ['a bomb', 'damaged', () => zip([{ path: 'manifest.json', data: new Uint8Array(2 ** 24), size: 100_000 }])],
  [
    'a manifest of four gigabytes',
    'too_large',
    () => zip([{ path: 'manifest.json', packed: new Uint8Array(9), size: 0xfffffff0 }]),
  ],
  [
    'a member padded with a megabyte',
    'too_large',
    () => zip([{ path: 'manifest.json', packed: new Uint8Array(2 ** 20), size: 9 }]),
  ],
])('%s: %s', async (_name, code, make) => {
  expect(await refused(await make())).toBe(code)
})

test('members out of order, twice, missing, or too many', async () => {
  const manifest = manifestOf(trail)
  const source = await sourceOf(trail, manifest)
  const text = ascii.encode(
    JSON.stringify({
      format: 'affidavit-pack/1',
      trail: manifest.trail,
      origin: manifest.origin,
      size: 300,
      ranges: [[0, 300]],
      bundles: [[0, 2]],
      withheld: [],
      limit: manifest.limit,
      optional: [],
    }),
  )
  const members: Member[] = [
    { path: 'manifest.json', data: text },
    { path: 'checkpoint', data: ascii.encode(source.checkpoint) },
    { path: 'vkeys', data: ascii.encode(`${source.vkeys[0]}\n`) },
    { path: 'tile/entries/000', data: await source.bundle(0) },
    { path: 'tile/entries/001.p/44', data: await source.bundle(1) },
    { path: 'content/000.ndjson', data: ascii.encode('{"seq":0}\n') },
    { path: 'content/001.ndjson', data: ascii.encode('{"seq":256}\n') },
  ]
  expect(await refused(zip(members.with(1, members[2]!).with(2, members[1]!)))).toBe('members')
  expect(await refused(zip([...members, members[6]!]))).toBe('members')
  expect(await refused(zip(members.slice(0, -1)))).toBe('members')
  expect(await refused(zip([...members, { path: 'cover/extra.html', data: text }]))).toBe('members')
  expect(await refused(zip(members.with(3, { ...members[3]!, stored: true })))).toBe('members')
  const twice = new TextDecoder().decode(text).replace('"optional":[]', '"optional":["cover/a","cover/a"]')
  expect(await refused(zip(members.with(0, { path: 'manifest.json', data: ascii.encode(twice) })))).toBe('malformed')
  // In its order the container is right; what is in it is not a line of content for every entry.
  const path = join(folder, 'poor.zip')
  await writeFile(path, zip(members))
  expect((await affidavit(['verify', path])).code).not.toBe(0)
})

const key = ['--vkey', LOG.vkey]
test.each([
  ['an accusation', 'affidavit/1 accusation\n', (path: string) => [path, ...key]],
  ['a proof', 'c2sp.org/tlog-proof@v1\n', (path: string) => [path, ...key, '--hash', '0'.repeat(64)]],
  ['a checkpoint', '', (path: string) => ['good.zip', '--checkpoint', path]],
  ['a state file', '{', (path: string) => ['good.zip', '--state', path]],
  ['a policy', 'log ', (path: string) => ['good.zip', '--policy', path]],
  ['certificates', '-----BEGIN', (path: string) => ['good.zip', '--tsa-ca', path]],
])('%s of ten gigabytes', async (_name, beginning, args) => {
  const path = join(folder, 'large')
  await writeFile(path, beginning)
  await truncate(path, 10 * 2 ** 30)
  const before = process.memoryUsage.rss()
  const { code, out, err } = await affidavit(['verify', ...args(path)])
  expect([code, out, err]).toEqual([2, '', `affidavit: ${path} cannot be read: it is larger than 64 MB.\n`])
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 * 2 ** 20)
})

test('a pipe that nobody writes to is no file, and is not waited for', async () => {
  const path = join(folder, 'pipe')
  expect(spawnSync('mkfifo', [path]).status).toBe(0)
  expect(await affidavit(['verify', path])).toMatchObject({ code: 2, err: expect.stringContaining('is no file') })
})

test('ten gigabytes of nothing are refused at once', async () => {
  const path = join(folder, 'sparse.zip')
  await writeFile(path, good)
  await truncate(path, 10 * 2 ** 30)
  const { code, err } = await affidavit(['verify', path])
  expect([code, err]).toEqual([2, expect.stringContaining('[truncated]')])
  // As a copy of a lost trail a pack may be as large, and is not read whole to see what it is.
  await expect(readCopies([`org_1=${path}`])).rejects.toThrow('[truncated]')
})
