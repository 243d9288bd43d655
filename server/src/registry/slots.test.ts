import { hmacKey, SlotTree, slotBlind, slotLeaf, slotRoot } from '@affidavit/trail'
import { expect, test } from 'vitest'
import { sha256 } from '../store/sha256.ts'
import { block_slots, SlotBlinds } from './slots.ts'

const secret = Buffer.alloc(32, 3)
const blinds = new SlotBlinds(secret)
const body = (slot: number) => Buffer.from(`log.example/${slot}\n${slot}\nroot\n`)

test.each([8, 9, 11])(
  'a proof from one block and the crown is the proof of the whole tree, depth %i',
  async (depth) => {
    const used = Array.from({ length: 2 ** (depth - 1) }, (_, n) => (n * 37) % 2 ** depth)
    const bodies = new Map(used.map((slot) => [slot, body(slot)]))
    const { root, crown } = await blinds.tree(7, depth, bodies)
    const whole = SlotTree.build(sha256, { secret: hmacKey(sha256, secret), epoch: 7, depth, bodies })
    expect(root).toEqual(whole.root)
    for (const slot of [0, used[1]!, used.at(-1)!, 2 ** depth - 1]) {
      const first = slot - (slot % block_slots)
      const block = new Map([...bodies].filter(([at]) => at >= first && at < first + block_slots))
      const proof = blinds.path(7, slot, block, crown)
      expect(proof.path).toEqual(whole.path(slot))
      expect(proof.root).toEqual(root)
      const blind = slotBlind(sha256, hmacKey(sha256, secret), 7, slot)
      expect(proof.blind).toEqual(blind)
      const leaf = bodies.has(slot) ? slotLeaf(sha256, blind, bodies.get(slot)!) : blind
      expect(slotRoot(sha256, slot, leaf, proof.path)).toEqual(root)
    }
  },
)

test('the tree of no body at all is full of random leaves', async () => {
  const rootOf = async (epoch: number, own = blinds) => (await own.tree(epoch, 8, new Map())).root
  const root = await rootOf(1)
  expect(root).not.toEqual(await rootOf(2))
  expect(root).not.toEqual(await rootOf(1, new SlotBlinds(Buffer.alloc(32, 4))))
})
