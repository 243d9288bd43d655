import { createHmac, hash, hkdfSync, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { hmacKey, personalSalt } from '@affidavit/trail'
import { describe, expect, test } from 'vitest'
import { derive, MacKey, TokenKey } from './mac.ts'
import { SubjectKey } from './subject-key.ts'

const sha256 = (data: Uint8Array) => hash('sha256', data, 'buffer')
const latin1 = (text: string) => Buffer.from(text, 'latin1')

describe('MacKey', () => {
  test('is HMAC-SHA256, for text, bytes, and messages longer than its scratch buffer', () => {
    for (const length of [0, 1, 55, 56, 64, 4_000, 4_096, 70_000]) {
      const key = randomBytes(32)
      const message = 'é'.repeat(length)
      const expected = createHmac('sha256', key).update(message).digest()
      expect(latin1(new MacKey(key).text(message))).toEqual(expected)
      expect(latin1(new MacKey(key).message(Buffer.from(message)))).toEqual(expected)
    }
  })

  test('two keys used in turn do not disturb each other', () => {
    const [a, b] = [new MacKey(randomBytes(32)), new MacKey(randomBytes(32))]
    const first = a.text('x')
    b.text('a longer message than x')
    expect(a.text('x')).toBe(first)
  })

  test('gives its key back, and prints as nothing', () => {
    const key = Buffer.alloc(32, 'K')
    const mac = new MacKey(key)
    expect(mac.bytes()).toEqual(key)
    expect(JSON.stringify(mac) + inspect(mac, { showHidden: true, depth: 9 })).not.toContain('KKKK')
  })

  test('refuses keys of another length', () => {
    expect(() => new MacKey(Buffer.alloc(31))).toThrow(RangeError)
  })
})

describe('TokenKey', () => {
  test('is the first half of SHA-256 over the key in hex, which fills a block, and the text', () => {
    for (const length of [0, 1, 4_000, 70_000]) {
      const key = randomBytes(32)
      const text = 'é'.repeat(length)
      const expected = sha256(Buffer.from(key.toString('hex') + text)).subarray(0, 16)
      expect(latin1(new TokenKey(key).token(text))).toEqual(expected)
    }
  })

  test('prints as nothing, and refuses keys of another length', () => {
    expect(inspect(new TokenKey(Buffer.alloc(32, 'K')), { showHidden: true, depth: 9 })).not.toMatch(/KKKK|4b4b/)
    expect(() => new TokenKey(Buffer.alloc(31))).toThrow(RangeError)
  })
})

test('derive is the first block of HKDF-Expand', () => {
  // hkdfSync extracts first, so the same block is computed from its definition.
  const key = randomBytes(32)
  const block = createHmac('sha256', key).update('a label').update(Buffer.of(1)).digest()
  expect(derive(key, 'a label')).toEqual(block)
  const extracted = createHmac('sha256', Buffer.alloc(32)).update(key).digest()
  expect(derive(extracted, 'a label')).toEqual(Buffer.from(hkdfSync('sha256', key, '', 'a label', 32)))
})

test('a subject’s salt is the one that the trail package specifies', () => {
  const key = randomBytes(32)
  const subject = SubjectKey.of('00'.repeat(16), 7, key)
  const saltKey = hmacKey(sha256, derive(key, 'affidavit/1 subject salt'))
  const factsSalt = randomBytes(16)
  for (const line of [0, 1, 99])
    expect(subject.salt(factsSalt, line)).toEqual(Buffer.from(personalSalt(sha256, saltKey, factsSalt, line)))
  expect(() => subject.salt(factsSalt, 100)).toThrow(RangeError)
  expect(() => subject.salt(randomBytes(15), 0)).toThrow(RangeError)
})
