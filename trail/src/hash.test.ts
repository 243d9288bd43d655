import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeSha256 } from '../test/node-hash.ts'
import { toBase64 } from './bytes.ts'
import { commitText } from './entry/commitment.ts'
import { type Hash, hashInto, hashText } from './hash.ts'
import { tileRoot, treeRoot } from './tree/tree.ts'
import { sha256 } from './web.ts'

const hash32 = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('a hash function with and without its faster forms', () => {
  const plain: Hash = (data) => nodeSha256(data)

  it('gives the same bytes as text, in place, and in plain TypeScript', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
        const expected = sha256(data)
        for (const hash of [nodeSha256, plain, sha256]) {
          const target = new Uint8Array(40).fill(7)
          hashInto(hash, data, target, 5)
          expect(hashText(hash, data)).toBe(toBase64(expected))
          expect(target).toEqual(new Uint8Array([7, 7, 7, 7, 7, ...expected, 7, 7, 7]))
        }
      }),
    )
  })

  it('gives the same commitments and tile roots', () => {
    const salt = new Uint8Array(16)
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.array(hash32, { maxLength: 20 }), (content, leaves) => {
        expect(commitText(nodeSha256, 'facts', salt, content)).toBe(commitText(sha256, 'facts', salt, content))
        const tile = new Uint8Array(leaves.flatMap((leaf) => [...leaf]))
        for (const hash of [nodeSha256, plain]) expect(tileRoot(hash, tile)).toEqual(treeRoot(sha256, leaves))
      }),
    )
    const full = Array.from({ length: 256 }, (_, n) => sha256(new Uint8Array([n])))
    expect(tileRoot(nodeSha256, new Uint8Array(full.flatMap((leaf) => [...leaf])))).toEqual(treeRoot(sha256, full))
  })
})
