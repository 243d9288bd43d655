import fc from 'fast-check'
import { expect, it } from 'vitest'
import { decodeBundle, decodeTile, encodeBundle, parseTilePath, tilePath, tileSpan, tileWidth } from './tiles.ts'

it('spells paths as tlog-tiles does', () => {
  expect(tilePath({ level: 0, index: 1234067, width: 256 })).toBe('tile/0/x001/x234/067')
  expect(tilePath({ level: 1, index: 5, width: 17 })).toBe('tile/1/005.p/17')
  expect(tilePath({ level: 'entries', index: 1000, width: 256 })).toBe('tile/entries/x001/000')
})

it('parses exactly the paths it spells', () => {
  const tile = fc.record({
    level: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
    index: fc.integer({ min: 0, max: 2 ** 45 }),
    width: fc.integer({ min: 1, max: 256 }),
  })
  fc.assert(
    fc.property(tile, (t) => {
      expect(parseTilePath(tilePath(t))).toEqual(t)
    }),
  )
  for (const path of [
    'tile/0/1',
    'tile/00/001',
    'tile/64/001',
    'tile/0/x000/001',
    'tile/0/001.p/0',
    'tile/0/001.p/256',
  ]) {
    expect(parseTilePath(path), path).toBeUndefined()
  }
})

it('knows the width of every tile', () => {
  expect(tileWidth(0, 0, 70_000)).toBe(256)
  expect(tileWidth('entries', 273, 70_000)).toBe(112)
  expect(tileWidth(1, 1, 70_000)).toBe(17)
  expect(tileWidth(2, 0, 70_000)).toBe(1)
  expect(tileWidth(3, 0, 70_000)).toBe(0)
  expect(tileWidth(0, 2 ** 40, 2 ** 48 + 3)).toBe(3)
})

it('finds each node in the tile below it', () => {
  expect(tileSpan(0, 257)).toEqual({ level: 0, index: 1, offset: 1, count: 1 })
  expect(tileSpan(7, 3)).toEqual({ level: 0, index: 1, offset: 128, count: 128 })
  expect(tileSpan(9, 130)).toEqual({ level: 1, index: 1, offset: 4, count: 2 })
  expect(tileSpan(8, 2 ** 40)).toEqual({ level: 1, index: 2 ** 32, offset: 0, count: 1 })
})

it('splits bundles as it joins them, and refuses cut ones', () => {
  const entries = fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 20 })
  fc.assert(
    fc.property(entries, (made) => {
      const bundle = encodeBundle(made)
      expect(decodeBundle(bundle)).toEqual(made)
      if (bundle.length > 0 && made.at(-1)!.length > 0) expect(decodeBundle(bundle.slice(0, -1))).toBeUndefined()
    }),
  )
  expect(decodeBundle(Uint8Array.of(0))).toBeUndefined()
  expect(decodeBundle(new Uint8Array(2 * 256))).toHaveLength(256)
  expect(decodeBundle(new Uint8Array(2 * 257))).toBeUndefined()
  expect(() => encodeBundle([new Uint8Array(65_536)])).toThrow(RangeError)
})

it('takes only whole tiles', () => {
  expect(decodeTile(new Uint8Array(64))).toHaveLength(2)
  for (const length of [0, 31, 33, 257 * 32]) expect(decodeTile(new Uint8Array(length))).toBeUndefined()
})
