import { createHash, createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { hmacKey } from '../hash.ts'
import { sha256 } from '../web.ts'
import { type CommitmentKind, commit, commitText, personalSalt } from './commitment.ts'

const salt = Uint8Array.from({ length: 16 }, (_, at) => at * 16 + 1)

describe('commitment', () => {
  it.each<CommitmentKind>(['facts', 'control', 'confidential', 'operator', 'personal'])(
    'is SHA-256 of tag, salt, content: %s',
    (kind) => {
      const content = '{"name":"Zoë 🦊"}'
      const expected = createHash('sha256')
        .update(`affidavit/1 ${kind}\n`)
        .update(salt)
        .update(content)
        .digest('base64')
      expect(commitText(sha256, kind, salt, content)).toBe(expected)
      expect(commitText(sha256, kind, salt, new TextEncoder().encode(content))).toBe(expected)
    },
  )

  it('takes content of any size', () => {
    const content = 'é'.repeat(300_000)
    const expected = createHash('sha256').update('affidavit/1 facts\n').update(salt).update(content).digest('hex')
    expect(Buffer.from(commit(sha256, 'facts', salt, content)).toString('hex')).toBe(expected)
  })

  it('refuses a salt of another length', () => {
    expect(() => commit(sha256, 'facts', salt.slice(1), '')).toThrow(RangeError)
    expect(() => personalSalt(sha256, hmacKey(sha256, salt), salt.slice(1), 0)).toThrow(RangeError)
  })

  it('derives the salt of each personal line from the subject key, the facts salt and the line', () => {
    const key = Uint8Array.from({ length: 32 }, (_, at) => 255 - at)
    for (const line of [0, 1, 99]) {
      const expected = createHmac('sha256', key).update(salt).update(Uint8Array.of(line)).digest().subarray(0, 16)
      expect(Buffer.from(personalSalt(sha256, hmacKey(sha256, key), salt, line))).toEqual(expected)
    }
    expect(() => personalSalt(sha256, hmacKey(sha256, key), salt, 100)).toThrow(RangeError)
  })
})
