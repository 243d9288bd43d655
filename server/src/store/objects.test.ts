// What every store of objects must do. Each implementation joins the table below.
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startS3 } from '../../test/s3.ts'
import { openFolderObjects } from './folder-objects.ts'
import { BadKey, checkKey, type Objects } from './objects.ts'
import { BadBucket, parseBucket } from './open-objects.ts'
import { S3Objects } from './s3-objects.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'objects-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const s3 = await startS3()
afterAll(() => s3?.stop())

const stores: [string, () => Promise<Objects>][] = [
  ['folder', () => openFolderObjects(join(folder, 'objects'))],
  ...(s3 === null
    ? []
    : [
        ['bucket', async () => new S3Objects(await s3.bucket(), s3.client)] as [string, () => Promise<Objects>],
        ['prefix', async () => new S3Objects(await s3.bucket({ prefix: 'a/b/' }), s3.client)] as [
          string,
          () => Promise<Objects>,
        ],
      ]),
]

const keysOf = async (objects: Objects, prefix: string, after?: string) => {
  const keys: string[] = []
  for await (const { key } of objects.list(prefix, after)) keys.push(key)
  return keys
}

const segment = fc.stringMatching(/^[a-c][a-c.=-]{0,2}[a-c]$/)
const key = fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))

describe.each(stores)('objects in a %s', (name, open) => {
  let objects: Objects
  beforeEach(async () => {
    objects = await open()
  })

  test('behave as a map that never replaces', async () => {
    const command = fc.oneof(
      fc.record({
        kind: fc.constant('put' as const),
        key,
        content: fc.uint8Array({ maxLength: 40 }),
        stream: fc.boolean(),
      }),
      fc.record({ kind: fc.constant('delete' as const), key }),
      fc.record({ kind: fc.constant('list' as const), key }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 30 }), async (commands) => {
        const model = new Map<string, Uint8Array>()
        for await (const { key } of objects.list('')) await objects.delete(key)
        const nests = (a: string) =>
          [...model.keys()].some((b) => b !== a && (a.startsWith(`${b}/`) || b.startsWith(`${a}/`)))
        for (const step of commands) {
          if (step.kind === 'list') {
            const sorted = [...model.keys()].sort()
            const prefix = step.key.slice(0, 2)
            expect(await keysOf(objects, prefix)).toEqual(sorted.filter((k) => k.startsWith(prefix)))
            expect(await keysOf(objects, '', step.key)).toEqual(sorted.filter((k) => k > step.key))
          } else if (step.kind === 'delete') expect(await objects.delete(step.key)).toBe(model.delete(step.key))
          else if (!nests(step.key)) {
            const content = step.stream ? Readable.from([step.content]) : step.content
            expect(await objects.put(step.key, content)).toBe(model.has(step.key) ? 'exists' : 'written')
            if (!model.has(step.key)) model.set(step.key, step.content)
          }
          const stored = model.get(step.key)
          expect(await objects.get(step.key)).toEqual(stored && Buffer.from(stored))
          expect((await objects.stat(step.key))?.size).toBe(stored?.length)
        }
      }),
      { numRuns: process.env.AFFIDAVIT_LONG && name === 'folder' ? 300 : 40 },
    )
  })

  test('are written once, by one of many', async () => {
    const puts = await Promise.all(Array.from({ length: 20 }, (_, n) => objects.put('epoch/7', Buffer.from(String(n)))))
    expect(puts.filter((put) => put === 'written')).toHaveLength(1)
    expect(String(await objects.get('epoch/7'))).toBe(String(puts.indexOf('written')))
  })

  test('can be put while their neighbours are deleted', async () => {
    const rounds = Array.from({ length: 100 }, (_, n) => n)
    await Promise.all(
      rounds.map(async (n) => {
        expect(await objects.put(`deep/er/${n}`, Buffer.from([n]))).toBe('written')
        expect(await objects.delete(`deep/er/${n}`)).toBe(true)
      }),
    )
    expect(await keysOf(objects, '')).toEqual([])
  })

  test('are read in part', async () => {
    const content = Buffer.from(Array.from({ length: 200_000 }, (_, n) => n % 251))
    await objects.put('a/large', Readable.from([content.subarray(0, 70_000), content.subarray(70_000)]))
    const range = async (from?: number, to?: number) => buffer((await objects.read('a/large', from, to))!)
    expect((await range()).equals(content)).toBe(true)
    expect((await range(100_000, 100_010)).equals(content.subarray(100_000, 100_010))).toBe(true)
    expect(await range(5, 5)).toHaveLength(0)
    expect(await range(199_990, 999_999)).toHaveLength(10)
    expect(await objects.read('a/none')).toBeUndefined()
    expect(await objects.read('a')).toBeUndefined()
  })

  test('too large for memory come as streams, and are whole or absent all the same', async () => {
    const chunk = Buffer.alloc(1 << 20, 'x')
    const stream = (chunks: number, fails = false) =>
      Readable.from(
        (async function* () {
          for (let n = 0; n < chunks; n++) yield chunk
          if (fails) throw new Error('the source broke off')
        })(),
      )
    await expect(objects.put('large', stream(18, true))).rejects.toThrow('broke off')
    expect(await objects.stat('large')).toBeUndefined()
    const puts = await Promise.all([objects.put('large', stream(18)), objects.put('large', stream(17))])
    expect(puts.toSorted()).toEqual(['exists', 'written'])
    expect((await objects.stat('large'))?.size).toBe((puts[0] === 'written' ? 18 : 17) * chunk.length)
    expect(await objects.put('large', stream(9))).toBe('exists')
  })

  test('that break off while being written are absent, and can be written again', async () => {
    async function* broken() {
      yield Buffer.alloc(1000)
      throw new Error('the source broke off')
    }
    await expect(objects.put('a/b', Readable.from(broken()))).rejects.toThrow('broke off')
    expect(await objects.stat('a/b')).toBeUndefined()
    expect(await objects.put('a/b', Buffer.from('whole'))).toBe('written')
  })

  test('refuse a key that is the beginning of another', async () => {
    await objects.put('a/b', Buffer.alloc(0))
    await expect(objects.put('a', Buffer.alloc(0))).rejects.toBeInstanceOf(BadKey)
    await expect(objects.put('a/b/c', Buffer.alloc(0))).rejects.toBeInstanceOf(BadKey)
    expect(await objects.get('a')).toBeUndefined()
    expect(await objects.get('a/b/c')).toBeUndefined()
    expect(await objects.delete('a')).toBe(false)
    expect(await keysOf(objects, '')).toEqual(['a/b'])
  })

  test.each([
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '.',
    '..',
    '../x',
    'a/../b',
    'a/.b',
    'A',
    'a b',
    'a\\b',
    'a\0',
    'ä',
    'a.',
    '-a',
    'x'.repeat(201),
  ])('refuse the key %j', async (bad) => {
    await expect(objects.put(bad, Buffer.alloc(0))).rejects.toBeInstanceOf(BadKey)
    await expect(objects.get(bad)).rejects.toBeInstanceOf(BadKey)
    await expect(objects.read(bad)).rejects.toBeInstanceOf(BadKey)
    await expect(objects.stat(bad)).rejects.toBeInstanceOf(BadKey)
    await expect(objects.delete(bad)).rejects.toBeInstanceOf(BadKey)
  })
})

test('no accepted key leaves the folder or differs from another only in case', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'aA0./\\_=-~% \0é'), maxLength: 12 }), (text) => {
      try {
        checkKey(text)
      } catch (error) {
        expect(error).toBeInstanceOf(BadKey)
        return
      }
      expect(join('/base', text)).toBe(`/base/${text}`)
      expect(text).toBe(text.toLowerCase())
    }),
    { numRuns: 5000 },
  )
})

test('the address of a bucket is read strictly', () => {
  expect(parseBucket('s3://audit')).toEqual({ bucket: 'audit', prefix: '', region: 'us-east-1' })
  expect(parseBucket('s3://audit/eu/log/?region=eu-central-1&endpoint=http://10.0.0.1:9000&path_style=false')).toEqual({
    bucket: 'audit',
    prefix: 'eu/log/',
    region: 'eu-central-1',
    endpoint: 'http://10.0.0.1:9000',
    pathStyle: false,
  })
  const wrong = [
    's3://',
    's3://A',
    'https://audit',
    's3://key:secret@audit',
    's3://audit/a/../b%20',
    's3://audit?acl=x',
  ]
  for (const place of [...wrong, 's3://audit?endpoint=ftp://x']) expect(() => parseBucket(place)).toThrow(BadBucket)
})

test('what a crash left unfinished goes after a day, what is being written stays', async () => {
  const staging = join(folder, 'objects', '.staging')
  await mkdir(staging, { recursive: true })
  await writeFile(join(staging, 'old'), 'half')
  await writeFile(join(staging, 'new'), 'half')
  await utimes(join(staging, 'old'), 1, 1)
  const objects = await openFolderObjects(join(folder, 'objects'))
  expect(await readdir(staging)).toEqual(['new'])
  expect(await keysOf(objects, '')).toEqual([])
})
