import { CompactRange, TILE_WIDTH, tileRoot, treeRoot } from '@affidavit/trail'
import { expect, test } from 'vitest'
import { sha256 } from '../store/sha256.ts'
import { type EdgeTile, edgeOf, LogEdge } from './log.ts'

const leaf = (n: number) => sha256(Buffer.from(String(n)))

test('grows as the tree of RFC 6962 does, whatever it is grown by, over three tile levels', () => {
  const stored = new Map<string, EdgeTile>()
  const range = new CompactRange(sha256)
  let size = 0
  const sizes = [1, 2, 254, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 65_800]
  for (const next of sizes) {
    const edge = new LogEdge(
      size,
      edgeOf(size).map(({ level, index }) => stored.get(`${level}/${index}`)!),
    )
    for (; size < next; size++) {
      edge.append(leaf(size))
      range.append(leaf(size))
    }
    for (const tile of edge.changed) stored.set(`${tile.level}/${tile.index}`, tile)
    expect([edge.size, Buffer.from(edge.root())]).toEqual([next, Buffer.from(range.root())])
  }
  const zero = [...stored.values()].filter(({ level }) => level === 0)
  expect(zero.length).toBe(Math.ceil(size / TILE_WIDTH))
  const ones = Buffer.concat([stored.get('1/0')!.hashes, stored.get('1/1')!.hashes])
  const full = zero.filter(({ hashes }) => hashes.length === TILE_WIDTH * 32).sort((a, b) => a.index - b.index)
  expect(ones).toEqual(Buffer.concat(full.map(({ hashes }) => tileRoot(sha256, hashes))))
  expect(Buffer.from(stored.get('2/0')!.hashes)).toEqual(Buffer.from(tileRoot(sha256, stored.get('1/0')!.hashes)))
  expect([...stored.keys()].filter((name) => name.startsWith('2/'))).toEqual(['2/0'])
})

test('a tile that is missing or has another length is not built on', () => {
  const edge = new LogEdge(0, [])
  for (let n = 0; n < 3; n++) edge.append(leaf(n))
  const [tile] = edge.changed
  expect(Buffer.from(new LogEdge(3, [tile!]).root())).toEqual(Buffer.from(treeRoot(sha256, [0, 1, 2].map(leaf))))
  expect(() => new LogEdge(3, [])).toThrow('not as it was written')
  expect(() => new LogEdge(2, [tile!])).toThrow('not as it was written')
})
