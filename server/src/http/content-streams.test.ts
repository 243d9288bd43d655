// Few readers of contents at once: who is finished, breaks off or takes nothing makes room.
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ContentStreams } from './content-streams.ts'

async function* pieces(count: number): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < count; n++) yield Buffer.alloc(100_000, n)
}

const opened = (streams: ContentStreams, tenant: number, count: number) =>
  Array.from({ length: count }, () => streams.open(tenant, pieces(10)))

test('six of a tenant, twenty-four in all; the end of one and a break make room', async () => {
  const streams = new ContentStreams()
  const [first, second] = opened(streams, 1, 6)
  expect(() => streams.open(1, pieces(1))).toThrow('6 readers take contents of this tenant already.')
  for (const tenant of [2, 3, 4]) opened(streams, tenant, 6)
  expect(() => streams.open(5, pieces(1))).toThrow('24 readers take contents already.')
  expect(await buffer(first!)).toHaveLength(1_000_000)
  second!.destroy()
  await sleep(0)
  opened(streams, 1, 2)
  expect(() => streams.open(1, pieces(1))).toThrow('6 readers')
})

test('who takes nothing is left, who takes slowly is not', async () => {
  const streams = new ContentStreams(200)
  const [stalled, slow] = opened(streams, 1, 2)
  const closed = new Promise((resolve) => stalled!.once('close', resolve))
  let bytes = 0
  for await (const piece of slow!) {
    bytes += (piece as Buffer).length
    await sleep(60)
  }
  expect(bytes).toBe(1_000_000)
  await closed
  expect(stalled!.errored?.message).toBe('nobody takes the contents')
  opened(streams, 1, 6)
})
