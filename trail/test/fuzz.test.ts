/**
 * Hostile input to every parser: whatever comes, the answer is a value or the parser's own error, never another one;
 * and what is accepted is the only spelling of itself.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  concatBytes,
  decodeBundle,
  decodeContent,
  decodeEntry,
  decodeManifest,
  decodeTile,
  EntryError,
  encodeBundle,
  encodeContent,
  encodeEntry,
  encodeManifest,
  formatCheckpoint,
  formatReceipt,
  formatVkey,
  NoteError,
  PackError,
  PackReader,
  parseCheckpoint,
  parseNote,
  parseReceipt,
  parseTilePath,
  parseVkey,
  tilePath,
  toHex,
  verifyConsistency,
  verifyEd25519,
  verifyInclusion,
  verifyPack,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  collect,
  fileOf,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  ORIGIN,
  rootOf,
  signedCheckpoint,
  sourceOf,
} from './sample-trail.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const numRuns = long ? 20_000 : 300
const fewRuns = long ? 3_000 : 60

const trail = makeTrail(Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
const checkpoint = await signedCheckpoint(trail)
const receipt = formatReceipt({
  trail: trail.entries[0]!.trail,
  first: 1,
  last: 2,
  leaf: trail.leaves[2]!,
  sealedAt: trail.entries[2]!.sealedAt,
})
const refused = (): never => {
  throw new RangeError('refused')
}
const bytesOf = (text: string) => new TextEncoder().encode(text)
const textOf = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)

/** A good text or byte string with a few places overwritten, cut out, doubled, or replaced by noise. */
function damaged(good: Uint8Array): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat(good.length),
    cut: fc.nat(8),
    put: fc.oneof(
      fc.uint8Array({ maxLength: 8 }),
      fc
        .constantFrom('\n', ' ', '"', '\\', '0', '-1', '9007199254740993', '{', '}', '\u2014 ', '\ufeff', 'é')
        .map(bytesOf),
    ),
  })
  const edited = fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) =>
    edits.reduce((bytes, { at, cut, put }) => {
      return new Uint8Array([...bytes.subarray(0, at), ...put, ...bytes.subarray(at + cut)])
    }, good),
  )
  return fc.oneof({ weight: 8, arbitrary: edited }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 400 }) })
}

/** Every refusal is an error of `kind`; `again` writes what was accepted, which must be the input. */
function holds<T>(good: Uint8Array, read: (bytes: Uint8Array) => T, kind: unknown, again?: (value: T) => Uint8Array) {
  read(good)
  fc.assert(
    fc.property(damaged(good), (bytes) => {
      let value: T
      try {
        value = read(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(kind)
        return
      }
      if (again !== undefined && value !== undefined) expect(toHex(again(value))).toBe(toHex(bytes))
    }),
    { numRuns },
  )
}

/** The same for parsers of text. */
function holdsText<T>(good: string, read: (text: string) => T, kind: unknown, again: (value: T) => string) {
  read(good)
  fc.assert(
    fc.property(damaged(bytesOf(good)).map(textOf), (text) => {
      let value: T
      try {
        value = read(text)
      } catch (error) {
        expect(error).toBeInstanceOf(kind)
        return
      }
      expect(again(value)).toBe(text)
    }),
    { numRuns },
  )
}

describe('hostile input', () => {
  it('notes', () => holds(bytesOf(checkpoint), parseNote, NoteError))

  it('checkpoints', () =>
    holdsText(
      formatCheckpoint(ORIGIN, 9, rootOf(trail)),
      parseCheckpoint,
      NoteError,
      ({ origin, size, root, extensions }) =>
        [formatCheckpoint(origin, size, root), ...extensions.map((line) => `${line}\n`)].join(''),
    ))

  it('receipts', () => holdsText(receipt, parseReceipt, NoteError, formatReceipt))

  it('verifier keys', () => {
    const read = (text: string) => ({ text, key: parseVkey(nodeSha256, text) })
    // Keys of other types are carried, not formatted.
    holdsText(LOG.vkey, read, NoteError, ({ text, key }) =>
      key.type === 1 ? formatVkey(nodeSha256, key.name, key.publicKey) : text,
    )
  })

  it('entries', () => {
    for (const bytes of [trail.bytes[0]!, trail.bytes[8]!])
      holds(bytes, decodeEntry, EntryError, (entry) => bytesOf(encodeEntry(entry)))
  })

  it('content lines', () => {
    // Strings may be escaped in more than one way, so only reading again says the same.
    const read = (text: string) => {
      const payload = decodeContent(text)
      expect(decodeContent(encodeContent(payload))).toEqual(payload)
      return text
    }
    holdsText(encodeContent(trail.payloads[8]!), read, PackError, (text) => text)
  })

  it('manifests', () => holdsText(encodeManifest(manifestOf(trail)), decodeManifest, PackError, encodeManifest))

  it('bundles, tiles and tile paths', () => {
    holds(encodeBundle(trail.bytes), (bytes) => decodeBundle(bytes) ?? refused(), RangeError, encodeBundle)
    holds(
      new Uint8Array(96),
      (bytes) => decodeTile(bytes) ?? refused(),
      RangeError,
      (hashes) => concatBytes(hashes),
    )
    const path = bytesOf('tile/entries/x001/x234/067.p/12')
    holds(
      path,
      (bytes) => parseTilePath(textOf(bytes)),
      Error,
      (tile) => (tile === undefined ? path : bytesOf(tilePath(tile))),
    )
  })

  it('proofs: none but the true one is accepted', () => {
    const number = fc.oneof(fc.nat(20), fc.maxSafeNat(), fc.double())
    const hashes = fc.array(fc.uint8Array({ minLength: 31, maxLength: 33 }), { maxLength: 60 })
    fc.assert(
      fc.property(number, number, hashes, fc.constantFrom(...trail.leaves), (a, b, proof, leaf) => {
        expect(verifyInclusion(nodeSha256, leaf, a, b, proof, rootOf(trail))).toBe(false)
        expect(verifyConsistency(nodeSha256, a, b, proof, leaf, rootOf(trail))).toBe(false)
      }),
      { numRuns },
    )
  })

  it('packs: refused, or a verdict that is not "held"', async () => {
    const manifest = manifestOf(trail)
    const good = await collect(writePack(nodeSha256, manifest, await sourceOf(trail, manifest)))
    await fc.assert(
      fc.asyncProperty(damaged(good), async (bytes) => {
        fc.pre(toHex(bytes) !== toHex(good))
        try {
          const pack = await PackReader.open(nodeSha256, fileOf(bytes))
          expect((await verifyPack(pack, { hash: nodeSha256, verify: verifyEd25519 })).outcome).not.toBe('held')
        } catch (error) {
          expect(error).toBeInstanceOf(PackError)
        }
      }),
      { numRuns: fewRuns },
    )
  })

  it('packs whose container is whole but whose members were edited: never "held", never another error', async () => {
    const manifest = manifestOf(trail)
    const source = await sourceOf(trail, manifest)
    const bundle = encodeBundle(trail.bytes)
    await fc.assert(
      fc.asyncProperty(damaged(bundle), async (changed) => {
        fc.pre(toHex(changed) !== toHex(bundle))
        const bytes = await collect(writePack(nodeSha256, manifest, { ...source, bundle: async () => changed }))
        const pack = await PackReader.open(nodeSha256, fileOf(bytes))
        const result = await verifyPack(pack, { hash: nodeSha256, verify: verifyEd25519 })
        expect(result.outcome).toBe('tampered')
      }),
      { numRuns: fewRuns },
    )
  })
})
