import { expect, test } from 'vitest'
import { Gate } from './gate.ts'

/** Work that ends when it is told to, and a record of what was begun. */
function works(gate: Gate) {
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  const start = (name: string, bytes: number) =>
    gate.within(bytes, () => {
      begun.push(name)
      return new Promise<void>((resolve) => ends.set(name, resolve))
    })
  const end = async (name: string) => {
    ends.get(name)!()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { begun, start, end }
}

test('small work shares the places, large work is alone, nobody overtakes', async () => {
  const { begun, start, end } = works(new Gate(100, 4))
  const all = [start('a', 1), start('b', 25), start('large', 1_000), start('c', 1)]
  await new Promise((resolve) => setImmediate(resolve))
  expect(begun).toEqual(['a', 'b'])
  await end('a')
  expect(begun).toEqual(['a', 'b'])
  await end('b')
  expect(begun).toEqual(['a', 'b', 'large'])
  await end('large')
  expect(begun).toEqual(['a', 'b', 'large', 'c'])
  await end('c')
  await Promise.all(all)
})

test('work that fails makes room', async () => {
  const gate = new Gate(10, 1)
  await expect(gate.within(10, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await gate.within(10, async () => 'yes')).toBe('yes')
})
