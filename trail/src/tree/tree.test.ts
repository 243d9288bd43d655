import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeSha256 } from '../../test/node-hash.ts'
import { concatBytes, fromBase64 } from '../bytes.ts'
import { sha256 } from '../web.ts'
import { CompactRange } from './compact-range.ts'
import { readNodeFromTiles } from './tiles.ts'
import {
  consistencyRanges,
  emptyRoot,
  leafHash,
  nodeHash,
  nodesOf,
  proveConsistency,
  proveInclusion,
  rangeHash,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
} from './tree.ts'

const VECTORS = join(import.meta.dirname, '../../../../shared/vectors/merkle')

function vectorFiles(folder: string): string[] {
  return readdirSync(join(VECTORS, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.json'))
    .map((path) => join(VECTORS, folder, path))
}

const bytesOf = (text: string | null) => (text === null ? new Uint8Array(0) : (fromBase64(text) ?? new Uint8Array(0)))

describe.skipIf(!existsSync(VECTORS))('the transparency-dev vectors (skipped without ../shared/vectors)', () => {
  it('gives the expected verdict on all 196', () => {
    let seen = 0
    for (const path of vectorFiles('inclusion')) {
      const v = JSON.parse(readFileSync(path, 'utf8'))
      const proof = (v.proof ?? []).map(bytesOf)
      const held = verifyInclusion(sha256, bytesOf(v.leafHash), v.leafIdx, v.treeSize, proof, bytesOf(v.root))
      expect(held, `${path}: ${v.desc}`).toBe(!v.wantErr)
      seen++
    }
    for (const path of vectorFiles('consistency')) {
      const v = JSON.parse(readFileSync(path, 'utf8'))
      const proof = (v.proof ?? []).map(bytesOf)
      const held = verifyConsistency(sha256, v.size1, v.size2, proof, bytesOf(v.root1), bytesOf(v.root2))
      expect(held, `${path}: ${v.desc}`).toBe(!v.wantErr)
      seen++
    }
    expect(seen).toBe(196)
  })
})

const SIZES = 300
/** Every proof of every size is made and held; of these sizes each is also tried where it must not hold. All with AFFIDAVIT_LONG=1. */
const isTried = (size: number) => process.env.AFFIDAVIT_LONG === '1' || size <= 130 || size % 16 < 2 || size === SIZES
const leaves = Array.from({ length: SIZES }, (_, n) => leafHash(nodeSha256, new TextEncoder().encode(`leaf ${n}`)))

/** RFC 6962 §2.1 as it is written: the oracle. */
function naiveRoot(from: number, to: number): Uint8Array {
  if (to === from) return emptyRoot(nodeSha256)
  if (to - from === 1) return leaves[from]!
  let k = 1
  while (k * 2 < to - from) k *= 2
  return nodeHash(nodeSha256, naiveRoot(from, from + k), naiveRoot(from + k, to))
}

const roots = Array.from({ length: SIZES + 1 }, (_, size) => naiveRoot(0, size))
const nodes = new Map<string, Uint8Array>()
const read = (level: number, index: number): Uint8Array => {
  const key = `${level}/${index}`
  const node = nodes.get(key) ?? naiveRoot(index * 2 ** level, (index + 1) * 2 ** level)
  nodes.set(key, node)
  return node
}
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0

describe('tree', () => {
  it('has the roots of RFC 6962, by compact range and at once', () => {
    const range = new CompactRange(nodeSha256)
    for (let size = 0; size <= SIZES; size++) {
      expect(range.root()).toEqual(roots[size])
      expect(treeRoot(nodeSha256, leaves.slice(0, size))).toEqual(roots[size])
      expect(CompactRange.fromBytes(nodeSha256, size, range.toBytes()).root()).toEqual(roots[size])
      if (size < SIZES) range.append(leaves[size]!)
    }
    expect(() => range.appendSubtree(8, leaves[0]!)).toThrow(RangeError)
    expect(() => CompactRange.fromBytes(nodeSha256, 3, new Uint8Array(32))).toThrow(RangeError)
  })

  it('proves every leaf of trees of sizes up to 300, and no other leaf, index or root', async () => {
    for (let size = 1; size <= SIZES; size++) {
      for (let index = 0; index < size; index++) {
        const proof = await proveInclusion(nodeSha256, read, index, size)
        const verify = (leaf: number, at: number, root: number) =>
          verifyInclusion(nodeSha256, leaves[leaf]!, at, size, proof, roots[root]!)
        if (!verify(index, index, size)) expect.fail(`leaf ${index} of ${size} is not proven`)
        if (!isTried(size)) continue
        if (verify((index + 1) % SIZES, index, size)) expect.fail(`another leaf passes for ${index} of ${size}`)
        if (size > 1 && verify(index, (index + 1) % size, size)) expect.fail(`${index} of ${size} passes elsewhere`)
        if (verify(index, index, size - 1)) expect.fail(`${index} of ${size} passes under another root`)
      }
    }
  })

  it('proves that sizes up to 300 grew out of every earlier one, and into no other root', async () => {
    for (let newer = 1; newer <= SIZES; newer++) {
      for (let older = 1; older <= newer; older++) {
        const proof = await proveConsistency(nodeSha256, read, older, newer)
        const verify = (olderRoot: number, newerRoot: number) =>
          verifyConsistency(nodeSha256, older, newer, proof, roots[olderRoot]!, roots[newerRoot]!)
        if (!verify(older, newer)) expect.fail(`${older} to ${newer} is not proven`)
        if (!isTried(newer)) continue
        if (verify(older - 1, newer)) expect.fail(`${older} to ${newer} passes from another root`)
        if (verify(older, newer - 1)) expect.fail(`${older} to ${newer} passes into another root`)
      }
    }
    expect(() => consistencyRanges(0, 5)).toThrow(RangeError)
    expect(() => consistencyRanges(6, 5)).toThrow(RangeError)
  })

  it('refuses every single-byte change, missing, doubled or swapped hash of a proof', async () => {
    for (const [older, newer] of [
      [3, 7],
      [64, 200],
      [77, 256],
      [255, 257],
    ] as const) {
      const inclusion = await proveInclusion(nodeSha256, read, older, newer)
      const consistency = await proveConsistency(nodeSha256, read, older, newer)
      for (const changed of changes(inclusion)) {
        expect(verifyInclusion(nodeSha256, leaves[older]!, older, newer, changed, roots[newer]!)).toBe(false)
      }
      for (const changed of changes(consistency)) {
        expect(verifyConsistency(nodeSha256, older, newer, changed, roots[older]!, roots[newer]!)).toBe(false)
      }
    }
  })

  it('reads the same nodes from tiles', async () => {
    const tileOf = (level: number, index: number, width: number) =>
      concatBytes(Array.from({ length: width }, (_, at) => read(level * 8, index * 256 + at)))
    for (const size of [1, 2, 255, 256, 257, 300]) {
      const fromTiles = readNodeFromTiles(nodeSha256, size, tileOf)
      for (let index = 0; index < size; index += 7) {
        expect(await proveInclusion(nodeSha256, fromTiles, index, size)).toEqual(
          await proveInclusion(nodeSha256, read, index, size),
        )
      }
    }
    await expect(readNodeFromTiles(nodeSha256, 5, tileOf)(2, 1)).rejects.toThrow(RangeError)
    await expect(readNodeFromTiles(nodeSha256, 5, () => new Uint8Array(32))(0, 1)).rejects.toThrow(RangeError)
  })

  it('proves beyond 2^32 leaves', async () => {
    const large = fc.oneof(
      fc.integer({ min: 2 ** 32, max: 2 ** 53 - 1 }),
      fc.constantFrom(2 ** 32, 2 ** 32 + 1, 2 ** 33 - 1, 2 ** 40 + 257, 2 ** 53 - 1),
    )
    const index = fc.integer({ min: 0, max: 2 ** 53 - 2 })
    await fc.assert(
      fc.asyncProperty(large, large, index, async (a, b, any) => {
        const [older, newer] = [Math.min(a, b), Math.max(a, b)]
        const at = any % older
        const tree = sparseTree(at)
        const rootOf = (size: number) => rangeHash(nodeSha256, tree, { from: 0, to: size })
        const [olderRoot, newerRoot] = [await rootOf(older), await rootOf(newer)]
        const inclusion = await proveInclusion(nodeSha256, tree, at, newer)
        expect(verifyInclusion(nodeSha256, leaves[1]!, at, newer, inclusion, newerRoot)).toBe(true)
        expect(verifyInclusion(nodeSha256, leaves[0]!, at, newer, inclusion, newerRoot)).toBe(false)
        const elsewhere = at === 0 ? 1 : at - 1
        expect(verifyInclusion(nodeSha256, leaves[1]!, elsewhere, newer, inclusion, newerRoot)).toBe(false)
        const growth = await proveConsistency(nodeSha256, tree, older, newer)
        expect(verifyConsistency(nodeSha256, older, newer, growth, olderRoot, newerRoot)).toBe(true)
        if (!same(olderRoot, newerRoot)) {
          expect(verifyConsistency(nodeSha256, older, newer, growth, newerRoot, olderRoot)).toBe(false)
        }
        const range = CompactRange.fromBytes(nodeSha256, older, concatBytes(await peaks(tree, older)))
        expect(range.root()).toEqual(olderRoot)
      }),
      { numRuns: 200 },
    )
  })
})

function* changes(proof: readonly Uint8Array[]): Generator<Uint8Array[]> {
  for (let at = 0; at < proof.length; at++) {
    for (let byte = 0; byte < 32; byte++) {
      yield proof.map((hash, n) => (n === at ? hash.map((value, i) => (i === byte ? value ^ 0x40 : value)) : hash))
    }
    yield proof.toSpliced(at, 1)
    yield proof.toSpliced(at, 0, proof[at]!)
    yield proof.map((hash, n) => (n === at ? hash.slice(1) : hash))
    if (at > 0) yield proof.toSpliced(at - 1, 2, proof[at]!, proof[at - 1]!)
  }
  yield [...proof, new Uint8Array(32)]
}

/** A tree of any size in which all leaves are equal but one. */
function sparseTree(special: number): (level: number, index: number) => Uint8Array {
  const plain = [leaves[0]!]
  const marked = [leaves[1]!]
  for (let level = 1; level <= 53; level++) {
    const [below, path] = [plain[level - 1]!, marked[level - 1]!]
    plain.push(nodeHash(nodeSha256, below, below))
    const right = Math.floor(special / 2 ** (level - 1)) % 2 === 1
    marked.push(right ? nodeHash(nodeSha256, below, path) : nodeHash(nodeSha256, path, below))
  }
  return (level, index) => (Math.floor(special / 2 ** level) === index ? marked[level]! : plain[level]!)
}

async function peaks(tree: (level: number, index: number) => Uint8Array, size: number): Promise<Uint8Array[]> {
  return nodesOf({ from: 0, to: size }).map((node) => tree(node.level, node.index))
}
