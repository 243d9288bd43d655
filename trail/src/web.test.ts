import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { hmac, hmacKey } from './hash.ts'
import { sha256, verifyEd25519 } from './web.ts'

const ofNode = (data: Uint8Array) => new Uint8Array(createHash('sha256').update(data).digest())

it('hashes every length around the block boundaries as Node does', () => {
  for (let length = 0; length <= 300; length++) {
    const data = new Uint8Array(length).map((_, at) => at * 31 + length)
    expect(sha256(data)).toEqual(ofNode(data))
  }
})

it('hashes anything as Node does', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (data) => {
      expect(sha256(data)).toEqual(ofNode(data))
    }),
  )
})

it('computes HMAC as Node does, with short and long keys', () => {
  const inputs = fc.tuple(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 300 }))
  fc.assert(
    fc.property(inputs, ([key, message]) => {
      const expected = new Uint8Array(createHmac('sha256', key).update(message).digest())
      expect(hmac(sha256, hmacKey(sha256, key), message)).toEqual(expected)
    }),
  )
})

it('verifies Ed25519 and refuses a changed message, signature, key', async () => {
  const pair = generateKeyPairSync('ed25519')
  const key = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  const message = new TextEncoder().encode('a message')
  const signature = new Uint8Array(sign(null, message, pair.privateKey))
  expect(await verifyEd25519(key, message, signature)).toBe(true)
  const flip = (bytes: Uint8Array) => bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte))
  expect(await verifyEd25519(key, flip(message), signature)).toBe(false)
  expect(await verifyEd25519(key, message, flip(signature))).toBe(false)
  expect(await verifyEd25519(flip(key), message, signature)).toBe(false)
  expect(await verifyEd25519(key.slice(1), message, signature)).toBe(false)
})
