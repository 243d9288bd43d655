import { expect, test } from 'vitest'
import { TenantTurns } from './tenant-turns.ts'

test('four of a tenant at once, in the order they came, and sixty more wait; another tenant does not notice', async () => {
  const turns = new TenantTurns()
  const begun: number[] = []
  const open: (() => void)[] = []
  const search = (tenant: number, n: number) =>
    turns.within(tenant, async () => {
      begun.push(n)
      await new Promise<void>((resolve) => open.push(resolve))
      if (n === 3) throw new Error('three')
      return n
    })
  const settled = Promise.allSettled(Array.from({ length: 64 }, (_, n) => search(1, n)))
  expect(begun).toEqual([0, 1, 2, 3])
  await expect(search(1, 64)).rejects.toThrow('64 searches of this tenant')
  const other = search(2, 100)
  expect(begun.at(-1)).toBe(100)
  for (let n = 0; n < 65; n++) {
    open.shift()!()
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(await other).toBe(100)
  const answers = (await settled).map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason)))
  expect(answers).toEqual(Array.from({ length: 64 }, (_, n) => (n === 3 ? 'Error: three' : n)))
  expect(begun.filter((n) => n < 100)).toEqual(Array.from({ length: 64 }, (_, n) => n))
  const later = search(1, 1)
  open.shift()!()
  expect(await later).toBe(1)
})
