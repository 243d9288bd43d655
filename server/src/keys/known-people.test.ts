import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KnownPeople, type KnownSubject, PRINT_BYTES } from './known-people.ts'
import { SubjectKey } from './subject-key.ts'

const keyring = 'ab'.repeat(16)
const salt = Buffer.alloc(16, 7)
const keyOf = (number: number) => SubjectKey.of(keyring, number, Buffer.alloc(32, number))
const subject = (number: number, shard = number % 16, key: SubjectKey | null = keyOf(number)): KnownSubject => ({
  number,
  keyId: number.toString(16).padStart(32, '0'),
  shard,
  key,
})
const print = (n: number) => String.fromCharCode(n, 255 - n).repeat(PRINT_BYTES / 2)
const many = { entries: 1_000, bytes: 1e6 }

describe('known people', () => {
  test('are found with everything that was told of them', () => {
    const people = new KnownPeople(many)
    people.set('a', subject(2 ** 40 + 1, 15, keyOf(3)))
    people.set('b', subject(5, 0, null))
    const a = people.find('a')
    expect(people.number(a)).toBe(2 ** 40 + 1)
    expect(people.keyId(a)).toBe((2 ** 40 + 1).toString(16).padStart(32, '0'))
    expect(people.saltKey(a)!.salt(salt, 3)).toEqual(keyOf(3).salt(salt, 3))
    expect(people.read(people.find('b'), keyring)).toEqual({ ...subject(5, 0, null) })
    expect(people.saltKey(people.find('b'))).toBeNull()
    expect(people.find('c')).toBe(-1)
  })

  test('thousands are kept apart, block after block', () => {
    const people = new KnownPeople({ entries: 10_000, bytes: 1e7 })
    for (let n = 0; n < 2_500; n++) people.setLatest(people.set(`p${n}`, subject(n)), print(n & 255), n)
    for (let n = 0; n < 2_500; n++) {
      const row = people.find(`p${n}`)
      expect([people.number(row), people.keyId(row), people.latest(row, print(n & 255))]).toEqual([
        n,
        subject(n).keyId,
        n,
      ])
    }
  })

  test('a key that was kept seals, opens and salts as before', () => {
    const people = new KnownPeople(many)
    const before = SubjectKey.of(keyring, 9, Buffer.from(Array.from({ length: 32 }, (_, n) => (n * 37) & 255)))
    people.set('a', subject(9, 1, before))
    const after = people.read(people.find('a'), keyring).key!
    expect(after.openPersona(before.sealPersona('["é"]'))).toBe('["é"]')
    expect(before.openPersona(after.sealPersona('["é"]'))).toBe('["é"]')
    expect(after.salt(salt, 99)).toEqual(before.salt(salt, 99))
  })

  test('of the personas the latest is known, by all of its fingerprint', () => {
    const people = new KnownPeople(many)
    const row = people.set('a', subject(1))
    expect([people.latest(row, print(1)), people.latestOf(row)]).toEqual([undefined, undefined])
    people.setLatest(row, print(1), 2 ** 33)
    expect(people.latest(row, print(1))).toBe(2 ** 33)
    for (let n = 0; n < PRINT_BYTES; n++) {
      const other = print(1).slice(0, n) + String.fromCharCode(print(1).charCodeAt(n) ^ 1) + print(1).slice(n + 1)
      expect(people.latest(row, other)).toBeUndefined()
    }
    people.setLatest(row, print(2), 3)
    expect(people.latestOf(row)).toEqual({ print: print(2), persona: 3 })
    expect(people.latest(people.set('a', subject(8)), print(2))).toBeUndefined()
  })

  test('stay within bounds, and who is used stays, however often others come and change', () => {
    const people = new KnownPeople({ entries: 40, bytes: 1e6 })
    people.setLatest(people.set('busy', subject(1)), print(1), 77)
    let found = 0
    for (let n = 0; n < 3_000; n++) {
      people.set(`p${n % 500}`, subject(n))
      const busy = people.find('busy')
      expect([people.number(busy), people.latest(busy, print(1))]).toEqual([1, 77])
      expect(people.saltKey(busy)!.salt(salt, 0)).toEqual(keyOf(1).salt(salt, 0))
    }
    people.deleteWhere(() => {
      found += 1
      return false
    })
    expect(found).toBeLessThanOrEqual(40)
    const byBytes = new KnownPeople({ entries: 1e6, bytes: 10_000 })
    for (let n = 0; n < 500; n++) byBytes.set(`${n}`.repeat(10), subject(n))
    expect(byBytes.find('0'.repeat(10))).toBe(-1)
    expect(byBytes.find('499'.repeat(10))).not.toBe(-1)
  })

  test('answer like a map of objects, as far as they remember', () => {
    const name = fc.integer({ min: 0, max: 60 }).map((n) => `n${n}`)
    const act = fc.oneof(
      fc.record({ set: name, number: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ find: name }),
      fc.record({ latest: name, persona: fc.integer({ min: 1, max: 99 }) }),
      fc.record({ delete: name }),
      fc.record({ forget: fc.integer({ min: 1, max: 9 }) }),
    )
    fc.assert(
      fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
        const people = new KnownPeople({ entries: 50, bytes: 1e6 })
        const model = new Map<string, { number: number; persona: number | undefined }>()
        for (const one of acts) {
          if ('set' in one) {
            people.set(one.set, subject(one.number))
            model.set(one.set, { number: one.number, persona: undefined })
          } else if ('delete' in one) {
            people.delete(one.delete)
            model.delete(one.delete)
          } else if ('forget' in one) {
            people.deleteWhere((number) => number === one.forget)
            for (const [key, { number }] of model) if (number === one.forget) model.delete(key)
          } else {
            const row = people.find('find' in one ? one.find : one.latest)
            if (row === -1) continue
            const known = model.get('find' in one ? one.find : one.latest)
            if ('latest' in one) {
              people.setLatest(row, print(one.persona), one.persona)
              known!.persona = one.persona
            }
            expect(people.number(row)).toBe(known!.number)
            expect(people.latestOf(row)?.persona).toBe(known!.persona)
            expect(people.saltKey(row)!.salt(salt, 1)).toEqual(keyOf(known!.number).salt(salt, 1))
          }
        }
      }),
      { numRuns: 200 },
    )
  })
})
