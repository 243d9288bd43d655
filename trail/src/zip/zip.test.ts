import { inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeSha256 } from '../../test/node-hash.ts'
import { collect, fileOf } from '../../test/sample-trail.ts'
import { PackError } from '../pack-error.ts'
import { type RandomAccess, readMember, writeZip, type ZipEntry, type ZipMember } from './zip.ts'
import { Directory } from './zip-directory.ts'

const text = new TextEncoder()

async function zip(members: readonly ZipMember[]): Promise<Uint8Array> {
  async function* each() {
    yield* members
  }
  return collect(writeZip(nodeSha256, each()))
}

const member = (path: string, content: string | Uint8Array, stored = false): ZipMember => ({
  path,
  data: typeof content === 'string' ? text.encode(content) : content,
  stored,
})

async function readDirectory(file: RandomAccess): Promise<ZipEntry[]> {
  const directory = await Directory.open(file)
  const entries: ZipEntry[] = []
  await directory.walk((entry) => void entries.push(entry))
  for (const [at, entry] of entries.entries()) expect(await directory.entry(at)).toEqual(entry)
  return entries
}

async function readAll(bytes: Uint8Array, limit = 1e6): Promise<Record<string, string>> {
  const file = fileOf(bytes)
  const read: Record<string, string> = {}
  for (const entry of await readDirectory(file)) {
    read[entry.path] = new TextDecoder().decode(await readMember(nodeSha256, file, entry, limit))
  }
  return read
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'accepted'
  } catch (error) {
    if (error instanceof PackError) return error.code
    throw error
  }
}

/** Replaces bytes wherever they stand, as an attacker who rewrites the container would. */
function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const latin = Buffer.from(bytes).toString('latin1')
  expect(latin).toContain(from)
  return new Uint8Array(Buffer.from(latin.replaceAll(from, to), 'latin1'))
}

const uint32 = (value: number) => String.fromCharCode(...new Uint8Array(Uint32Array.of(value).buffer))

describe('zip', () => {
  it('reads what it writes, empty members too', async () => {
    const bytes = await zip([member('a', 'one'), member('b/c.d', ''), member('tile', 'three', true)])
    expect(await readAll(bytes)).toEqual({ a: 'one', 'b/c.d': '', tile: 'three' })
    const [entry] = await readDirectory(fileOf(bytes))
    const packed = bytes.slice(31, 31 + entry!.packedSize)
    expect(inflateRawSync(packed).toString()).toBe('one')
  })

  it.each(['../a', '/a', 'a/../b', 'a//b', './a', 'a/', '.hidden', 'a\\b', 'a b', 'C:a', ''])(
    'neither writes nor reads the path %j',
    async (path) => {
      expect(await codeOf(zip([member(path, 'x')]))).toBe('members')
      if (path.length !== 4) return
      expect(await codeOf(readAll(replaced(await zip([member('good', 'x')]), 'good', path)))).toBe('members')
    },
  )

  it('inflates no further than stated', async () => {
    const bomb = new Uint8Array(5_000_000)
    const bytes = await zip([member('bomb', bomb)])
    expect(bytes.length).toBeLessThan(20_000)
    expect(await codeOf(readAll(bytes))).toBe('too_large')
    const lying = replaced(bytes, uint32(5_000_000), uint32(100_000))
    expect(await codeOf(readAll(lying))).toBe('too_large')
    const boasting = replaced(bytes, uint32(5_000_000), uint32(5_000_001))
    expect(await codeOf(readAll(boasting, 1e7))).toBe('damaged')
  })

  it('finds every one of many members', async () => {
    const names = Array.from({ length: 700 }, (_, n) => `m${n}`)
    expect(Object.keys(await readAll(await zip(names.map((name) => member(name, name)))))).toEqual(names)
  })

  it('refuses members that overlap or leave a gap', async () => {
    const bytes = await zip([member('a', 'x'.repeat(9)), member('b', 'y')])
    const [a] = await readDirectory(fileOf(bytes))
    const packed = uint32(a!.packedSize) + uint32(9)
    for (const wrong of [a!.packedSize - 1, a!.packedSize + 1]) {
      expect(await codeOf(readAll(replaced(bytes, packed, uint32(wrong) + uint32(9))))).toBe('damaged')
    }
  })

  it('never answers otherwise than before or with a PackError, whatever bytes change', async () => {
    const bytes = await zip([member('a', 'one and more of it'), member('b', 'two')])
    const change = fc.record({ at: fc.nat(bytes.length - 1), byte: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8 }), async (changes) => {
        const changed = bytes.slice()
        for (const { at, byte } of changes) changed[at] = byte
        if (Buffer.compare(changed, bytes) !== 0) expect(await codeOf(readAll(changed))).not.toBe('accepted')
      }),
      { numRuns: 2000 },
    )
  })

  it('refuses what is no pack at all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        expect(await codeOf(readAll(bytes))).toMatch(/not_a_pack|truncated|damaged/)
      }),
    )
    const endless = { size: Number.MAX_SAFE_INTEGER, read: async () => new Uint8Array(0) }
    expect(await codeOf(readDirectory(endless))).toBe('truncated')
  })
})
