import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodeSha256 } from '../../test/node-hash.ts'
import { headOf, makeEpoch, SECRET } from '../../test/sample-registry.ts'
import { makeTrail, OPEN, ORIGIN, SLOT, seeded } from '../../test/sample-trail.ts'
import { concatBytes, toHex } from '../bytes.ts'
import { FormatError } from '../format-error.ts'
import { hmac } from '../hash.ts'
import { treeRoot } from '../tree/tree.ts'
import { sha256 } from '../web.ts'
import { slotOf } from './registry.ts'
import { checkSlotProof, formatSlotProof, parseSlotProof, type SlotProof } from './slot-proof.ts'
import { depthFor, SlotTree, slotBlind, slotLeaf, slotRoot } from './slot-tree.ts'

const trail = makeTrail([{ control: OPEN }, {}, {}])
const EPOCHS = [makeEpoch(1, 3, trail, 1), makeEpoch(2, 4, trail, 3)]
const { entry } = EPOCHS[1]!
const good = (await headOf(EPOCHS, 1)).slot

describe('slot tree', () => {
  it('is the tree of RFC 6962 over blinded bodies and blinds', () => {
    const bodies: [number, string][] = [
      [0, 'zero\n'],
      [7, 'é seven\n'],
      [255, 'last\n'],
    ]
    const tree = SlotTree.build(nodeSha256, { secret: SECRET, epoch: 9, depth: 8, bodies })
    const leaves = Array.from({ length: 256 }, (_, slot) => {
      const message = new Uint8Array(16)
      new DataView(message.buffer).setUint32(4, 9)
      new DataView(message.buffer).setUint32(12, slot)
      const blind = hmac(sha256, SECRET, message)
      expect(toHex(slotBlind(sha256, SECRET, 9, slot))).toBe(toHex(blind))
      const body = bodies.find(([at]) => at === slot)?.[1]
      return body === undefined ? blind : slotLeaf(sha256, blind, body)
    })
    expect(toHex(tree.root)).toBe(toHex(treeRoot(sha256, leaves)))
    for (const slot of [0, 1, 7, 128, 255])
      expect(toHex(slotRoot(sha256, slot, leaves[slot]!, tree.path(slot)))).toBe(toHex(tree.root))
  })

  it('takes bodies as bytes too, and works with a hash that only returns bytes', () => {
    const plan = { secret: SECRET, epoch: 2 ** 33, depth: 8 }
    const long = 'x'.repeat(5000)
    const text = SlotTree.build(nodeSha256, { ...plan, bodies: [[3, long]] })
    const bytes = SlotTree.build(sha256, { ...plan, bodies: [[3, new TextEncoder().encode(long)]] })
    expect(toHex(text.root)).toBe(toHex(bytes.root))
    expect(
      toHex(slotRoot(sha256, 3, slotLeaf(sha256, slotBlind(sha256, SECRET, 2 ** 33, 3), long), text.path(3))),
    ).toBe(toHex(text.root))
  })

  it('is built in parts as well, with the upper tree over their roots', () => {
    const bodies: [number, string][] = [3, 300, 301, 1000].map((slot) => [slot, `body ${slot}\n`])
    const plan = { secret: SECRET, epoch: 9 }
    const whole = SlotTree.build(nodeSha256, { ...plan, depth: 10, bodies })
    const parts = [0, 256, 512, 768].map((first) => {
      const own = bodies.filter(([slot]) => slot >= first && slot < first + 256)
      return SlotTree.build(nodeSha256, { ...plan, depth: 8, bodies: own, first })
    })
    const above = SlotTree.over(nodeSha256, concatBytes(parts.map(({ root }) => root)))
    expect(toHex(above.root)).toBe(toHex(whole.root))
    expect([...parts[1]!.path(44), ...above.path(1)].map(toHex)).toEqual(whole.path(300).map(toHex))
    for (const first of [1, 255, 2 ** 32])
      expect(() => SlotTree.build(nodeSha256, { ...plan, depth: 8, bodies: [], first })).toThrow(RangeError)
    expect(() => SlotTree.over(nodeSha256, new Uint8Array(96))).toThrow(RangeError)
    expect(() => SlotTree.over(nodeSha256, new Uint8Array(0))).toThrow(RangeError)
  })

  it('shares nothing with the epoch after: every leaf is blinded anew', () => {
    const build = (epoch: number) =>
      SlotTree.build(nodeSha256, { secret: SECRET, epoch, depth: 8, bodies: [[1, 'a\n']] })
    const [one, two] = [build(1), build(2)]
    const hashes = (tree: SlotTree) => new Set([0, 255].flatMap((slot) => tree.path(slot).map(toHex)))
    expect([...hashes(one)].filter((hash) => hashes(two).has(hash))).toEqual([])
  })

  it.each([-1, 256, 1.5, Number.NaN])('has no slot %d', (slot) => {
    const plan = { secret: SECRET, epoch: 1, depth: 8 }
    expect(() => SlotTree.build(nodeSha256, { ...plan, bodies: [[slot, '']] })).toThrow(RangeError)
    expect(() => SlotTree.build(nodeSha256, { ...plan, bodies: [] }).path(slot)).toThrow(RangeError)
  })

  it('holds one head per slot', () => {
    const bodies: [number, string][] = [
      [5, 'a\n'],
      [5, 'b\n'],
    ]
    expect(() => SlotTree.build(nodeSha256, { secret: SECRET, epoch: 1, depth: 8, bodies })).toThrow('two heads')
  })

  it.each([7, 33])('has no depth of %d', (depth) => {
    expect(() => SlotTree.build(nodeSha256, { secret: SECRET, epoch: 1, depth, bodies: [] })).toThrow(RangeError)
  })

  it('leaves at least half of its slots empty', () => {
    expect([0, 1, 128, 129, 65_536, 65_537, 100_000].map(depthFor)).toEqual([8, 8, 8, 9, 17, 18, 18])
    expect(() => depthFor(2 ** 32)).toThrow(RangeError)
  })
})

describe('slot proof', () => {
  it('holds for the epoch, slot and trail it is of', () => {
    expect(checkSlotProof(sha256, good, entry)).toBeUndefined()
    expect(checkSlotProof(sha256, good, entry, ORIGIN)).toBeUndefined()
  })

  it.each<[string, Partial<SlotProof>]>([
    ['epoch', { epoch: 1 }],
    ['depth', { depth: 9, path: [...good.path, good.path[0]!] }],
    ['slot', { slot: SLOT ^ 1 }],
    ['slot', { body: good.body.replace(/\/0/, '/1') }],
    ['slot', { body: good.body.replace(ORIGIN, 'log.example/registry') }],
    ['root', { body: good.body.replace('\n3\n', '\n2\n') }],
    ['root', { blind: seeded('other', 32) }],
    ['root', { path: good.path.with(3, seeded('other', 32)) }],
    ['root', { path: good.path.toReversed() }],
  ])('fails by its %s', (flaw, change) => {
    expect(checkSlotProof(sha256, { ...good, ...change }, entry)).toBe(flaw)
  })

  it('fails for another trail, another epoch entry', () => {
    expect(checkSlotProof(sha256, good, entry, 'log.example/other')).toBe('origin')
    expect(checkSlotProof(sha256, good, EPOCHS[0]!.entry)).toBe('epoch')
    expect(checkSlotProof(sha256, good, { ...entry, slots: EPOCHS[0]!.entry.slots })).toBe('root')
  })

  it('binds a trail id to one slot: the same trail elsewhere is refused though the tree holds it', () => {
    const bodies: [number, string][] = [
      [SLOT, good.body],
      [SLOT + 1, good.body.replace('\n3\n', '\n2\n')],
    ]
    const tree = SlotTree.build(nodeSha256, { secret: SECRET, epoch: 2, depth: 8, bodies })
    const [slot, body] = bodies[1]!
    const forged = { ...good, slot, body, blind: slotBlind(sha256, SECRET, 2, slot), path: tree.path(slot) }
    expect(checkSlotProof(sha256, forged, { ...entry, slots: tree.root })).toBe('slot')
    expect(slotOf(ORIGIN.slice(-32))).not.toBe(slot)
  })

  it('parses what it formats', () => {
    const shapes = fc.record({
      epoch: fc.nat(9_999_999),
      index: fc.maxSafeNat(),
      slot: fc.nat(255),
      blind: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      depth: fc.integer({ min: 8, max: 32 }),
    })
    fc.assert(
      fc.property(shapes, (shape) => {
        const proof = { ...good, ...shape, path: Array.from({ length: shape.depth }, () => shape.blind) }
        expect(parseSlotProof(formatSlotProof(proof))).toEqual(proof)
      }),
      { numRuns: 50 },
    )
  })

  const text = formatSlotProof(good)
  it.each<[string, string, FormatError['code']]>([
    ['another version', text.replace('/1', '/2'), 'unknown_version'],
    ['another file', text.replace('slot', 'slots'), 'malformed'],
    ['a leading zero', text.replace('epoch 2', 'epoch 02'), 'malformed'],
    ['a slot outside the tree', text.replace(`slot ${SLOT}`, 'slot 256'), 'malformed'],
    ['a depth of 0', text.replace('depth 8', 'depth 0'), 'malformed'],
    ['a depth of 33', text.replace('depth 8', 'depth 33'), 'malformed'],
    ['a path too short', text.replace(/blind (.*)\n.*\n/, 'blind $1\n'), 'malformed'],
    ['a path too long', text.replace(/(blind .*\n)(.*\n)/, '$1$2$2'), 'malformed'],
    ['lines in another order', text.replace(/(index .*\n)(slot .*\n)/, '$2$1'), 'malformed'],
    ['no body', text.slice(0, text.indexOf('\n\n') + 2), 'malformed'],
    ['a body with an extension', `${text}extension\n`, 'malformed'],
    ['a body with a signature', `${text}\n— a AAAAAAAA\n`, 'malformed'],
    ['a carriage return', text.replaceAll('\n', '\r\n'), 'malformed'],
    ['no last newline', text.slice(0, -1), 'malformed'],
    ['too much', text + '\n'.repeat(16_384), 'too_large'],
  ])('refuses %s', (_, broken, code) => {
    expect(() => parseSlotProof(broken)).toThrow(expect.objectContaining({ name: 'FormatError', code }))
  })

  it('refuses bytes that are no UTF-8', () => {
    expect(() => parseSlotProof(Uint8Array.of(0xc3, 0x0a))).toThrow(FormatError)
  })
})
