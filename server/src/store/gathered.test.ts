import { expect, test } from 'vitest'
import { Gathered } from './gathered.ts'
import { StoreUnavailable } from './unavailable.ts'

/** Answers when told to, and keeps what was asked. */
function slow(answer: (item: number) => number = (item) => item * 10) {
  const asked: number[][] = []
  const open: (() => void)[] = []
  const put = async (items: readonly number[]) => {
    asked.push([...items])
    await new Promise<void>((resolve) => open.push(resolve))
    return items.map(answer)
  }
  const next = async () => {
    open.shift()!()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { asked, put, next }
}

test('what is asked while a question is under way goes together with the next', async () => {
  const { asked, put, next } = slow()
  const gathered = new Gathered(put, 4)
  const answers = [[1], [2, 3], [4], [5], [6, 7, 8, 9, 10]].map((items) => gathered.ask(items))
  expect(asked).toEqual([[1]])
  for (let n = 0; n < 3; n++) await next()
  expect(await Promise.all(answers)).toEqual([[10], [20, 30], [40], [50], [60, 70, 80, 90, 100]])
  expect(asked).toEqual([[1], [2, 3, 4, 5], [6, 7, 8, 9, 10]])
  const later = gathered.ask([11])
  await next()
  expect(await later).toEqual([110])
})

test('one wrong question fails alone, an absent database fails all at once', async () => {
  const { asked, put, next } = slow((item) => {
    if (item === 3) throw new Error('three')
    if (item === 9) throw new StoreUnavailable('away')
    return item
  })
  const gathered = new Gathered(put, 100)
  const answers = Promise.allSettled([1, 2, 3, 4].map((item) => gathered.ask([item])))
  for (let n = 0; n < 6; n++) await next()
  expect((await answers).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
  expect(asked).toEqual([[1], [2, 3, 4], [2], [3, 4], [3], [4]])
  const away = Promise.allSettled([5, 8, 9].map((item) => gathered.ask([item])))
  await next()
  await next()
  expect((await away).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(asked.slice(6)).toEqual([[5], [8, 9]])
})

test('one wrong question among many, and a database that goes away then, keep nobody waiting for long', async () => {
  let left = Number.POSITIVE_INFINITY
  const { asked, put, next } = slow((item) => {
    if (left-- <= 0) throw new StoreUnavailable('away')
    if (item === 40) throw new Error('forty')
    return item
  })
  const gathered = new Gathered(put, 100)
  const ask = () => Promise.allSettled(Array.from({ length: 65 }, (_, item) => gathered.ask([item])))
  const rejected = async (answers: ReturnType<typeof ask>) =>
    (await answers).flatMap(({ status }, item) => (status === 'rejected' ? [item] : []))
  const one = ask()
  for (let n = 0; n < 14; n++) await next()
  expect(await rejected(one)).toEqual([40])
  asked.length = 0
  left = 1 + 40 // the first alone, then those before the wrong one
  const away = ask()
  for (let n = 0; n < 4; n++) await next()
  expect(await rejected(away)).toHaveLength(64)
  expect(asked.map(({ length }) => length)).toEqual([1, 64, 32, 32])
})
