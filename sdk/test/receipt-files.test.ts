// Receipts on disk: nothing kept is lost by a crash, by a second process or by a review that fails half-way.
import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fileReceipts, type KeptReceipt, memoryReceipts, type ReceiptStore } from '../src/index.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-receipts-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const receipt = (n: number): KeptReceipt => ({
  tenant: 'org_1',
  trail: 'a'.repeat(32),
  first: n,
  last: n,
  at: n,
  note: `note ${n}\n`,
})
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** Everything that is kept, by number. */
async function kept(store: ReceiptStore): Promise<number[]> {
  const found: number[] = []
  await store.review(async (portion) => {
    found.push(...portion.map(({ last }) => last))
    return portion
  })
  return found
}

const confirmBelow = (store: ReceiptStore, limit: number) =>
  store.review(async (portion) => portion.filter(({ last }) => last >= limit))

for (const [name, make] of [
  ['files', () => fileReceipts({ folder: join(folder, 'spool'), fileBytes: 500 })],
  ['memory', () => memoryReceipts()],
] as const)
  test(`${name}: what a review returns stays, in order, and what comes meanwhile is not lost`, async () => {
    const store = make()
    expect(await kept(store)).toEqual([])
    await Promise.all(numbers(0, 50).map((n) => store.keep([receipt(n)])))
    expect(await kept(store)).toEqual(numbers(0, 50))
    await store.review(async (portion) => {
      await store.keep([receipt(50)])
      return portion.filter(({ last }) => last >= 20)
    })
    const left = await kept(store)
    expect(left.slice(0, 30)).toEqual(numbers(20, 50))
    expect(new Set(left.slice(30))).toEqual(new Set([50]))
    await confirmBelow(store, 45)
    await expect(
      store.review(async () => {
        throw new Error('the network is away')
      }),
    ).rejects.toThrow('away')
    expect((await kept(store)).slice(0, 5)).toEqual(numbers(45, 50))
    await confirmBelow(store, 100)
    expect(await kept(store)).toEqual([])
  })

test('memory: the oldest give way', async () => {
  const dropped: number[] = []
  const store = memoryReceipts({ max: 3, onDropped: (count) => dropped.push(count) })
  await store.keep(numbers(0, 5).map(receipt))
  expect(await kept(store)).toEqual([2, 3, 4])
  expect(dropped).toEqual([2])
})

test('files: confirmed ones are deleted, only full ones are closed, and the bound deletes the oldest', async () => {
  const dropped: number[] = []
  const options = { folder, fileBytes: 1000, totalBytes: 3000, onDropped: (bytes: number) => dropped.push(bytes) }
  const store = fileReceipts(options)
  for (const n of numbers(0, 100)) await store.keep([receipt(n)])
  expect(dropped.length).toBeGreaterThan(3)
  const left = await kept(store)
  expect(left).toEqual(numbers(left[0]!, 100))
  expect(left.length).toBeGreaterThan(10)
  await confirmBelow(store, 100)
  expect(await readdir(folder)).toEqual([])
})

test('files: a killed process leaves its receipts to the next, and a line it did not finish is passed over', async () => {
  const program = `
    import { fileReceipts } from ${JSON.stringify(join(import.meta.dirname, '..', 'src', 'receipt-files.ts'))}
    await fileReceipts({ folder: ${JSON.stringify(folder)} }).keep([${JSON.stringify(receipt(1))}])
    process.kill(process.pid, 'SIGKILL')`
  const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program])
  expect(signal).toBe('SIGKILL')
  const [name] = await readdir(folder)
  expect(name).toMatch(/\.open$/)
  await writeFile(join(folder, name!), `${await readFile(join(folder, name!), 'utf8')}{"tenant":"org_1","tr`)
  const store = fileReceipts({ folder })
  await store.keep([receipt(2)])
  expect(await kept(store)).toEqual([1, 2])
})

test('files: what a living process writes to is left alone', async () => {
  await writeFile(join(folder, `${'0'.repeat(15)}-1-${'0'.repeat(12)}-0.open`), `${JSON.stringify(receipt(7))}\n`)
  await writeFile(join(folder, 'notes.txt'), 'not ours')
  const store = fileReceipts({ folder })
  expect(await kept(store)).toEqual([])
  expect((await readdir(folder)).sort()).toEqual([`${'0'.repeat(15)}-1-${'0'.repeat(12)}-0.open`, 'notes.txt'])
})
