import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FairQueue, Ticket, type Waiting, weight } from './queue.ts'

const ticket = new Ticket(1)
const item = (tenant: number, index: number): Waiting => ({
  sealable: {
    trail: { number: tenant, id: '', tenant, shard: 0 },
    keyEpoch: 0,
    id: null,
    opens: false,
    bytes: { chunk: Buffer.alloc(0), at: 0, rowLength: 10, length: 10 },
  },
  ticket,
  index,
})
const named = (taken: readonly Waiting[]) => taken.map(({ sealable, index }) => `${sealable.trail.tenant}.${index}`)

describe('a fair queue', () => {
  test('serves tenants in turn, so that one who floods it delays itself', () => {
    const queue = new FairQueue({ eventsPerTenant: 100, turn: 2 })
    for (let n = 0; n < 5; n++) queue.push(item(1, n))
    queue.push(item(2, 0))
    expect(named(queue.take(4, 1e6))).toEqual(['1.0', '1.1', '2.0', '1.2'])
    queue.push(item(3, 0))
    expect(named(queue.take(4, 1e6))).toEqual(['1.3', '1.4', '3.0'])
    expect([queue.size, queue.bytes]).toEqual([0, 0])
  })

  test('refuses what is beyond the share of one tenant, and takes it when there is room', () => {
    const queue = new FairQueue({ eventsPerTenant: 2, turn: 2 })
    expect([0, 1, 2].map((n) => queue.push(item(1, n)))).toEqual([true, true, false])
    expect(queue.push(item(2, 0))).toBe(true)
    queue.take(1, 1e6)
    expect(queue.push(item(1, 2))).toBe(true)
    expect(queue.push(item(1, 3))).toBe(false)
  })

  test('gives everything once, each tenant in its order, within the bounds asked for, however it is used', () => {
    const step = fc.oneof(
      fc.record({ tenant: fc.nat(5), count: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ events: fc.integer({ min: 1, max: 30 }), bytes: fc.integer({ min: 1, max: 9_000 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new FairQueue({ eventsPerTenant: 50, turn: 3 })
        const waiting = new Map<number, number[]>()
        const given = new Map<number, number>()
        let sum = 0
        for (const one of steps) {
          if ('tenant' in one) {
            const own = waiting.get(one.tenant) ?? []
            waiting.set(one.tenant, own)
            for (let n = 0; n < one.count; n++) {
              const index = given.get(one.tenant) ?? 0
              const isTaken = queue.push(item(one.tenant, index))
              expect(isTaken).toBe(own.length < 50)
              if (!isTaken) continue
              own.push(index)
              given.set(one.tenant, index + 1)
              sum += 1
            }
          } else {
            const taken = queue.take(one.events, one.bytes)
            expect(taken.length > 0).toBe(sum > 0)
            expect(taken.length).toBeLessThanOrEqual(one.events)
            for (const { sealable, index } of taken) expect(waiting.get(sealable.trail.tenant)!.shift()).toBe(index)
            sum -= taken.length
          }
          expect(queue.size).toBe(sum)
          expect(queue.bytes).toBe(sum * weight(item(0, 0).sealable))
        }
      }),
      { numRuns: 300 },
    )
  })

  test('a backlog that never ends is served in order', () => {
    const queue = new FairQueue({ eventsPerTenant: 10, turn: 1 })
    queue.push(item(0, 0))
    for (let n = 1; n < 5_000; n++) {
      expect(queue.push(item(n % 7, n))).toBe(true)
      expect(queue.take(1, 1e6).map(({ index }) => index)).toEqual([n - 1])
    }
  })
})
