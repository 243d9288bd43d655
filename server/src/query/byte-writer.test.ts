import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteWriter } from './byte-writer.ts'

const text = (writer: ByteWriter) => Buffer.from(writer.take()).toString('utf8')

test('JSON strings are those of JSON.stringify, whatever the text', () => {
  const writer = new ByteWriter()
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      const bytes = Buffer.from(`x${value}`)
      writer.json(bytes, 1, bytes.length)
      expect(text(writer)).toBe(JSON.stringify(value))
    }),
  )
  const controls = Buffer.from(Array.from({ length: 128 }, (_, byte) => byte))
  writer.json(controls, 0, controls.length)
  expect(text(writer)).toBe(JSON.stringify(controls.toString('latin1')))
})

test('bytes that are no UTF-8 are what a reader of text would see', () => {
  const writer = new ByteWriter()
  const broken = Buffer.from([0x22, 0xff, 0x61, 0xc3])
  writer.json(broken, 0, broken.length)
  expect(text(writer)).toBe(JSON.stringify(broken.toString('utf8')))
})

test('numbers and base64 are those of the engine', () => {
  const writer = new ByteWriter()
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.uint8Array({ maxLength: 40 }), (value, bytes) => {
      writer.room(200)
      writer.decimal(value)
      writer.byte(0x20)
      writer.base64(Buffer.concat([Buffer.of(1), bytes]), 1, bytes.length)
      expect(text(writer)).toBe(`${value} ${Buffer.from(bytes).toString('base64')}`)
    }),
  )
})

test('what is large is taken whole, and what is written next does not touch it', () => {
  const writer = new ByteWriter()
  const part = Buffer.alloc(3_000_000, 'a')
  for (let n = 0; n < 3; n++) writer.json(part, 0, part.length)
  const large = writer.take()
  expect(large.length).toBe(9_000_006)
  writer.room(10)
  writer.ascii('next')
  expect(Buffer.from(large.subarray(0, 5)).toString()).toBe('"aaaa')
  expect(text(writer)).toBe('next')
})
