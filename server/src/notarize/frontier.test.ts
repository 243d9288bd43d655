import { CompactRange, treeRoot } from '@affidavit/trail'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from '../store/sha256.ts'
import { type Extended, extend, leadingLeaves } from './extend.ts'
import { Frontier } from './frontier.ts'

const leaf = (n: number) => sha256(Buffer.from(`leaf ${n}`))
const all = Array.from({ length: 70_000 }, (_, n) => leaf(n))
const leaves = (from: number, to: number) => Buffer.concat(all.slice(from, to))

/** Keeps the tiles of one trail as the store would. */
function inBatches(
  sizes: readonly number[],
  forgets: (batch: number) => boolean = () => false,
): { state: Extended; tiles: Map<string, Buffer> } {
  let state: Extended = { size: 0, root: Buffer.alloc(0), range: Buffer.alloc(0), tail: null, tiles: [] }
  const tiles = new Map<string, Buffer>()
  for (const [batch, count] of sizes.entries()) {
    if (forgets(batch)) state = { ...state, tail: null }
    const leading = leadingLeaves(state, count)
    const missing = leading && leaves(leading.from, leading.to)
    state = extend(state, leaves(state.size, state.size + count), missing)
    for (const { level, index, offset, hashes } of state.tiles) {
      const before = tiles.get(`${level}/${index}`) ?? Buffer.alloc(0)
      expect(before.length).toBe(offset * 32)
      tiles.set(`${level}/${index}`, Buffer.concat([before, hashes]))
    }
  }
  return { state, tiles }
}

test('any split into batches gives the tiles, the range and the root of one pass', () => {
  const batches = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(1, 255, 256, 257, 2_000)), {
    minLength: 1,
    maxLength: 12,
  })
  fc.assert(
    fc.property(batches, fc.func(fc.boolean()), (sizes, forgets) => {
      const total = sizes.reduce((sum, count) => sum + count, 0)
      const split = inBatches(sizes, forgets)
      const once = inBatches([total])
      expect(split.tiles).toEqual(once.tiles)
      expect(split.state.range).toEqual(once.state.range)
      const plain = new CompactRange(sha256)
      for (const hash of all.slice(0, total)) plain.append(hash)
      expect(Buffer.from(split.state.range)).toEqual(Buffer.from(plain.toBytes()))
      expect(split.state.root).toEqual(treeRoot(sha256, all.slice(0, total)))
    }),
    { numRuns: 60 },
  )
})

test('a tile of level 1 fills up and starts one of level 2', () => {
  const { state, tiles } = inBatches([65_535, 2, 4_000])
  expect(state.root).toEqual(treeRoot(sha256, all.slice(0, 69_537)))
  expect([...tiles.keys()].filter((name) => name.startsWith('0/'))).toHaveLength(271)
  expect(tiles.get('1/0')).toHaveLength(8_192)
  expect(tiles.get('1/1')).toHaveLength(15 * 32)
  expect(tiles.get('2/0')).toEqual(Buffer.from(treeRoot(sha256, all.slice(0, 65_536))))
})

test('a range that does not fit its size is refused', () => {
  const { state } = inBatches([700])
  expect(() => Frontier.restore(701, state.range)).toThrow(RangeError)
  expect(() => Frontier.restore(700, state.range.subarray(32))).toThrow(RangeError)
  expect(() => Frontier.restore(700, Buffer.concat([Buffer.alloc(32), state.range]))).toThrow(RangeError)
  expect(Frontier.restore(700, state.range).root()).toEqual(state.root)
})

test('a full tile without its beginning is refused', () => {
  const { state } = inBatches([250])
  expect(() => extend({ ...state, tail: null }, leaves(250, 260), null)).toThrow('tile 0')
  expect(() => extend({ ...state, tail: leaves(1, 250) }, leaves(250, 260), null)).toThrow('tile 0')
})
