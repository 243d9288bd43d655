import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RawRecord } from '../src/import/item.ts'
import { Occurrences } from '../src/import/occurrences.ts'
import { readRecords } from '../src/import/records.ts'
import { chunksOf } from './import-samples.ts'

async function records(input: string | Buffer, size?: number, maxRecordBytes?: number): Promise<RawRecord[]> {
  const found: RawRecord[] = []
  const options = maxRecordBytes === undefined ? {} : { maxRecordBytes }
  for await (const record of readRecords(chunksOf(input, size), options)) found.push(record)
  return found
}

function texts(found: RawRecord[]): string[] {
  return found.map((record) => (record.ok ? record.text : `! ${record.reason}`))
}

test('blank lines are passed over and counted; the last line needs no end', async () => {
  const found = await records('\ufeff{"a":1}\r\n\n  \n{"b":2}')
  expect(texts(found)).toEqual(['{"a":1}', '{"b":2}'])
  expect(found.map((record) => record.place)).toEqual([
    { unit: 'line', number: 1 },
    { unit: 'line', number: 4 },
  ])
})

test('any list of objects is read the same as lines, as an array and as a Records document, however it is cut', async () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue())
  await fc.assert(
    fc.asyncProperty(fc.array(object, { minLength: 1 }), fc.integer({ min: 1, max: 40 }), async (list, size) => {
      const lines = list.map((one) => JSON.stringify(one))
      fc.pre(!/^\s*\{\s*"[Rr]ecords"/.test(lines[0]!))
      expect(texts(await records(lines.join('\n'), size))).toEqual(lines)
      const pretty = JSON.stringify(list, null, 1)
      expect(texts(await records(pretty, size)).map((text) => JSON.parse(text))).toEqual(
        list.map((l) => JSON.parse(JSON.stringify(l))),
      )
      const document = `{"Records":${JSON.stringify(list)}}\n`
      expect(texts(await records(document + document, size))).toEqual([...lines, ...lines])
    }),
    { numRuns: process.env.AFFIDAVIT_LONG === '1' ? 1000 : 100 },
  )
})

test('gzip is seen by its bytes, several members are one stream, a cut one is reported after what was whole', async () => {
  const zipped = Buffer.concat([gzipSync('{"a":1}\n'), gzipSync('{"b":2}\n')])
  expect(texts(await records(zipped, 7))).toEqual(['{"a":1}', '{"b":2}'])
  const cut = gzipSync(Array.from({ length: 5000 }, (_, i) => `{"i":${i},"x":"${Math.random()}"}`).join('\n'))
  const found = await records(cut.subarray(0, cut.length - 5000), 1000)
  expect(found.length).toBeGreaterThan(1000)
  expect(found.at(-1)).toMatchObject({ ok: false, reason: expect.stringMatching(/cannot be read further/) })
  expect(found.slice(0, -1).every((record) => record.ok)).toBe(true)
})

test('a record that is too long or not UTF-8 loses only itself', async () => {
  const input = Buffer.concat([
    Buffer.from('{"a":1}\n{"long":"'),
    Buffer.alloc(5000, 'x'),
    Buffer.from('"}\n{"bad":"\xff"}\n', 'latin1'),
    Buffer.from('{"b":2}'),
  ])
  expect(texts(await records(input, 64, 1000))).toEqual([
    '{"a":1}',
    '! longer than 1000 bytes',
    '! not valid UTF-8',
    '{"b":2}',
  ])
})

test('a document that is cut off says so', async () => {
  const found = await records('{"Records":[{"a":1},{"b":')
  expect(texts(found)).toEqual(['{"a":1}', '! the document is cut off'])
  expect(found[1]!.place).toEqual({ unit: 'record', number: 2 })
})

test('an empty input has no records', async () => {
  expect(await records('')).toEqual([])
  expect(await records(gzipSync(''))).toEqual([])
  expect(await records('[]')).toEqual([])
})

test('50 MB are read in constant memory', async () => {
  const line = Buffer.from(`${JSON.stringify({ text: 'x'.repeat(1000) })}\n`)
  const block = Buffer.concat(Array.from({ length: 100 }, () => line))
  const elements = Buffer.from(block.toString('latin1').replaceAll('\n', ',\n'), 'latin1')
  async function* input(isDocument: boolean) {
    if (isDocument) yield Buffer.from('{"Records":[')
    for (let i = 0; i < 500; i++) yield isDocument ? elements : block
    if (isDocument) yield Buffer.from(']}')
  }
  for (const isDocument of [false, true]) {
    let count = 0
    let highest = 0
    const start = process.memoryUsage()
    for await (const record of readRecords(input(isDocument))) {
      if (!record.ok) throw new Error(record.reason)
      if (++count % 5000 === 0) highest = Math.max(highest, process.memoryUsage().rss)
    }
    expect(count).toBe(50_000)
    expect(highest - start.rss).toBeLessThan(120e6)
  }
})

test('occurrences are counted over many keys', () => {
  const seen = new Occurrences()
  for (const round of [1, 2, 3]) {
    for (let i = 0n; i < 5000n; i++) expect(seen.add((i * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn)).toBe(round)
  }
})
