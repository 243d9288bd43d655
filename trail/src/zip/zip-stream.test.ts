import { expect, it } from 'vitest'
import { nodeSha256 } from '../../test/node-hash.ts'
import { collect } from '../../test/sample-trail.ts'
import { PackError } from '../pack-error.ts'
import { DirectoryWriter, writeZip } from './zip.ts'
import { writtenRecords } from './zip-directory.ts'
import { arrivingMembers } from './zip-stream.ts'

const members = ['a', 'b/c', 'tile'].map((path) => ({
  path,
  data: new TextEncoder().encode(path.repeat(50)),
  stored: path === 'tile',
}))
const whole = await collect(
  writeZip(
    nodeSha256,
    (async function* () {
      yield* members
    })(),
  ),
)

/** Hands the bytes out in pieces of `size`, and says when nobody wants more. */
function source(bytes: Uint8Array, size: number): { chunks: AsyncIterable<Uint8Array>; isClosed: () => boolean } {
  let closed = false
  async function* pieces() {
    try {
      for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size)
      // A line that stays open.
      yield new Uint8Array(0)
    } finally {
      closed = true
    }
  }
  return { chunks: pieces(), isClosed: () => closed }
}

it.each([1, 7, 64, 10_000])(
  'finds the members in pieces of %i bytes, and lets go of the line at the directory',
  async (size) => {
    const { chunks, isClosed } = source(whole, size)
    const directory = new DirectoryWriter()
    const paths: string[] = []
    const parts: Uint8Array[] = []
    for await (const { entry, bytes } of arrivingMembers(nodeSha256, chunks, 1e6)) {
      paths.push(entry.path)
      parts.push(bytes)
      directory.add(entry)
    }
    expect(paths).toEqual(members.map(({ path }) => path))
    expect(Buffer.concat([...parts, ...directory.finish()]).equals(whole)).toBe(true)
    expect(isClosed()).toBe(true)
  },
)

it.each<[string, Uint8Array, number, string]>([
  ['inside a header', whole.slice(0, 20), 1e6, 'truncated'],
  ['inside a member', whole.slice(0, 50), 1e6, 'truncated'],
  ['a large member', whole, 10, 'too_large'],
  ['another header', whole.with(6, 1), 1e6, 'damaged'],
  ['something else', new TextEncoder().encode('x'.repeat(1000)), 1e9, 'members'],
])('refuses %s', async (_name, bytes, limit, code) => {
  const { chunks, isClosed } = source(bytes, 16)
  const read = async () => {
    for await (const _ of arrivingMembers(nodeSha256, chunks, limit));
  }
  const error = await read().catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(PackError)
  expect((error as PackError).code).toBe(code)
  expect(isClosed()).toBe(true)
})

it('picks up the records that were written whole, and drops a torn one', () => {
  const directory = new DirectoryWriter()
  const entry = { stored: true, crc: 1, packedSize: 2, size: 2, offset: 0, digest: new Uint8Array(32) }
  const records = ['one', 'two', 'three'].map((path) => directory.add({ ...entry, path }))
  const all = Buffer.concat(records)
  expect(writtenRecords(all).entries.map(({ path }) => path)).toEqual(['one', 'two', 'three'])
  for (const cut of [1, 40, 90]) {
    const { entries, used } = writtenRecords(all.subarray(0, all.length - cut))
    expect([entries.length, used]).toEqual([2, records[0]!.length + records[1]!.length])
  }
  expect(writtenRecords(all.fill(0xff, records[0]!.length, records[0]!.length + 4)).entries).toHaveLength(1)
})
