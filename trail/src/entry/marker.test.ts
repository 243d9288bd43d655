import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { highestMarkerOf } from './marker.ts'

const marker = (n: unknown) => ({ $personal: n })

describe('markers of personal lines in facts', () => {
  it.each<[number, string]>([
    [-1, '{}'],
    [-1, 'no JSON {"$personal":'],
    [0, JSON.stringify({ actor: { name: marker(0) } })],
    [12, JSON.stringify([marker(3), { a: marker(12) }, marker(0)])],
    [99, JSON.stringify(marker(99))],
    [100, JSON.stringify(marker(100))],
    [-1, JSON.stringify({ text: '{"$personal":7}', $person: 8, personal: 9 })],
    [7, '{ "$personal" : 7 }'],
    [7, '{"a":1,"$personal":7}'],
    [7, '{"$person\\u0061l":7}'],
    [7, '{"$personal":0,"$personal":7}'],
    [Number.POSITIVE_INFINITY, JSON.stringify(marker('0'))],
    [Number.POSITIVE_INFINITY, JSON.stringify(marker(-1))],
    [Number.POSITIVE_INFINITY, JSON.stringify(marker(0.5))],
    [Number.POSITIVE_INFINITY, JSON.stringify(marker(marker(0)))],
    [Number.POSITIVE_INFINITY, `${'['.repeat(200_000)}{ "$personal":9}${']'.repeat(200_000)}`],
  ])('%d in %.60s', (highest, facts) => expect(highestMarkerOf(facts)).toBe(highest))

  it('finds what reading the JSON finds', () => {
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.jsonValue(),
        fc.nat(120).map(marker),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('a', '$', '"$personal"', '{"$personal":3}', '\u0001'), tie('tree')),
      ),
    }))
    const highestIn = (value: unknown): number => {
      if (typeof value !== 'object' || value === null) return -1
      const own = '$personal' in value ? (value.$personal as number) : -1
      return Math.max(own, ...Object.values(value).map(highestIn))
    }
    fc.assert(
      fc.property(tree, (value) => {
        expect(highestMarkerOf(JSON.stringify(value))).toBe(highestIn(value))
      }),
    )
  })
})
