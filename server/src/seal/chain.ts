// Gives events their place: seq, previous hash and leaf hash. The leaf hash is the chain hash (docs/spec/chain.md), so
// this one loop builds both the chain and the leaves of the tree.
import { hash as digest } from 'node:crypto'
import { ENTRY_MAX_BYTES, entryPlace } from '@affidavit/trail'
import type { SealedRun, TrailRef } from '../store/sealable.ts'
import type { SealedBytes } from '../store/sealed-row.ts'
import type { Waiting } from './queue.ts'

/** The end of a trail: how many entries it has and the leaf hash of the last one (base64). */
export interface Head {
  readonly size: number
  readonly hash: string
}

/** The head of a trail without entries: 32 zero bytes stand for the previous leaf hash of the first one. */
export const emptyHead: Head = { size: 0, hash: Buffer.alloc(32).toString('base64') }

export interface ChainedItem {
  readonly item: Waiting
  readonly seq: number
  readonly previous: string
  readonly hash: string
}

/** What a batch does to one trail. */
export interface Extension {
  readonly trail: TrailRef
  readonly before: number
  readonly after: Head
}

export interface ChainedBatch {
  readonly items: readonly ChainedItem[]
  readonly extensions: readonly Extension[]
  readonly sealedAtMs: number
  readonly sealedAt: string
}

/** Room for any entry, with the byte that makes a leaf in front. */
const leaf = Buffer.alloc(1 + ENTRY_MAX_BYTES)

/** RFC 6962 leaf hash of an entry, base64: its place as text, its content lines as bytes. */
function leafHash(place: string, { chunk, at, rowLength, length: end }: SealedBytes): string {
  const length = 1 + place.length + end - rowLength
  if (length > leaf.length) throw new Error(`an entry has ${length - 1} bytes`)
  leaf.write(place, 1, 'latin1')
  chunk.copy(leaf, 1 + place.length, at + rowLength, at + end)
  return digest('sha256', leaf.subarray(0, length), 'base64')
}

/**
 * Chains a batch onto the heads of its trails, which must all be given.
 * @param sealedAtMs one sealing time for the whole batch, milliseconds since 1970
 */
export function chain(batch: readonly Waiting[], heads: ReadonlyMap<number, Head>, sealedAtMs: number): ChainedBatch {
  const sealedAt = new Date(sealedAtMs).toISOString()
  const ends = new Map<number, { trail: TrailRef; before: number; size: number; hash: string }>()
  const items: ChainedItem[] = []
  for (const item of batch) {
    const { trail, bytes } = item.sealable
    let end = ends.get(trail.number)
    if (end === undefined) {
      const head = heads.get(trail.number)
      if (head === undefined) throw new Error(`the head of trail ${trail.number} was not loaded`)
      end = { trail, before: head.size, size: head.size, hash: head.hash }
      ends.set(trail.number, end)
    }
    const seq = end.size
    const previous = end.hash
    const hash = leafHash(entryPlace(trail.id, seq, previous, sealedAt), bytes)
    end.size = seq + 1
    end.hash = hash
    items.push({ item, seq, previous, hash })
  }
  const extensions: Extension[] = []
  for (const end of ends.values())
    extensions.push({ trail: end.trail, before: end.before, after: { size: end.size, hash: end.hash } })
  return { items, extensions, sealedAtMs, sealedAt }
}

/** The runs of a sealed batch, by trail number. */
export function runs(batch: ChainedBatch): Map<number, SealedRun> {
  const byTrail = new Map<number, SealedRun>()
  for (const { trail, before, after } of batch.extensions) {
    byTrail.set(trail.number, {
      trail,
      first: before,
      last: after.size - 1,
      lastHash: after.hash,
      sealedAt: batch.sealedAt,
    })
  }
  return byTrail
}
