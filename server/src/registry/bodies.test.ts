import { formatCheckpoint } from '@affidavit/trail'
import { expect, test } from 'vitest'
import { PackedBodies } from './bodies.ts'

const logName = 'straße.example/log'
const head = (slot: number, size: number) => ({
  slot,
  trail: slot.toString(16).padStart(8, '0').padEnd(32, 'a'),
  size,
  root: Buffer.alloc(32, slot % 251).toString('base64'),
})
const text = (slot: number, size: number) =>
  formatCheckpoint(`${logName}/${head(slot, size).trail}`, size, Buffer.alloc(32, slot % 251))

test('every slot gives the checkpoint text that was put last', () => {
  const bodies = new PackedBodies(logName)
  const slots = Array.from({ length: 20_000 }, (_, n) => (n * 7919) % 65_536)
  for (const slot of slots) bodies.put(head(slot, 1))
  for (const slot of slots.slice(5_000, 6_000)) bodies.put(head(slot, Number.MAX_SAFE_INTEGER))
  bodies.put(head(slots[5_000]!, 7))
  expect(bodies.size).toBe(20_000)
  const read = (slot: number) => Buffer.from(bodies.get(slot) ?? []).toString()
  const wrong = slots.filter((slot, n) => {
    const size = n === 5_000 ? 7 : n > 5_000 && n < 6_000 ? Number.MAX_SAFE_INTEGER : 1
    return read(slot) !== text(slot, size)
  })
  expect(wrong).toEqual([])
  const free = Array.from({ length: 65_536 }, (_, slot) => slot).find((slot) => !slots.includes(slot))!
  expect(bodies.get(free)).toBeUndefined()
  expect(bodies.get(2 ** 30)).toBeUndefined()
})
