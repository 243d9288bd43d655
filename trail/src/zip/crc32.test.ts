import { crc32 as crc32OfNode } from 'node:zlib'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { crc32 } from './crc32.ts'

it('is the CRC-32 of zlib, for every length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
      expect(crc32(data)).toBe(crc32OfNode(data))
    }),
  )
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
})
