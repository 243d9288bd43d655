import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type AffidavitError,
  type AuditEvent,
  createAffidavit,
  type DroppedRange,
  type EmitOptions,
  type RejectedEvent,
} from '../src/index.ts'
import { type FaultyServer, startFaultyServer } from './faulty-server.ts'

let server: FaultyServer
beforeEach(async () => {
  server = await startFaultyServer()
})
afterEach(() => server.close())

function client(emit: EmitOptions = {}, attemptTimeoutMs = 10_000) {
  return createAffidavit({ url: server.url, key: 'k', source: 'api-7', flushBeforeExit: false, attemptTimeoutMs, emit })
}

function event(n: number): AuditEvent {
  return { action: 'doc.read', actor: { type: 'user', id: 'u1' }, metadata: { n } }
}

function storedNumbers(): unknown[] {
  return [...server.stored.values()].map((stored) => stored.metadata?.n)
}

function count(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i)
}

test('events arrive in order, in few gzipped batches, numbered without a gap', async () => {
  const audit = client({ batchEvents: 1000 })
  for (const n of count(3500)) audit.emit(event(n))
  expect(await audit.flush()).toBe(true)
  expect(storedNumbers()).toEqual(count(3500))
  expect([...server.stored.values()].map((stored) => stored.source?.seq)).toEqual(count(3500))
  expect(new Set([...server.stored.values()].map((stored) => stored.source?.boot)).size).toBe(1)
  expect(server.requests.length).toBeLessThanOrEqual(5)
  expect(server.requests[0]!.headers['content-encoding']).toBe('gzip')
  expect(audit.stats()).toMatchObject({
    queued: 0,
    queuedBytes: 0,
    accepted: 3500,
    dropped: 0,
    rejected: 0,
    failures: 0,
  })
})

test('without a flush the interval sends', async () => {
  const audit = client({ intervalMs: 20 })
  audit.emit(event(0))
  await expect.poll(() => server.stored.size).toBe(1)
  await audit.close()
})

test('every fault is survived and each event is stored once', async () => {
  server.faults = [
    { kind: 'status', status: 500, stored: true },
    { kind: 'reset' },
    { kind: 'reset', stored: true },
    { kind: 'truncated' },
    { kind: 'status', status: 401 },
    { kind: 'status', status: 200, body: '{"hello":"proxy"}' },
  ]
  const errors: AffidavitError[] = []
  const audit = client({ batchEvents: 50, onError: (error) => errors.push(error) })
  for (const n of count(120)) audit.emit(event(n))
  expect(await audit.flush()).toBe(true)
  expect(storedNumbers()).toEqual(count(120))
  const stats = audit.stats()
  expect(stats.accepted + stats.duplicates).toBe(120)
  expect(stats.failures).toBe(6)
  expect(errors.map((error) => error.status)).toEqual([500, 0, 0, 0, 401, 200])
})

test('Retry-After is honoured', async () => {
  server.faults = [{ kind: 'status', status: 429, retryAfter: '1' }]
  const audit = client()
  audit.emit(event(0))
  await audit.flush()
  expect(server.requests[1]!.at - server.requests[0]!.at).toBeGreaterThanOrEqual(995)
})

test('refused events are reported with the event and the reason; the rest goes in', async () => {
  server.refuse = (refused) =>
    refused.metadata?.n === 2 ? { code: 'bad', detail: 'no', pointer: '/metadata/n' } : undefined
  const rejected: RejectedEvent[] = []
  const audit = client({ onRejected: (item) => rejected.push(item) })
  for (const n of count(5)) audit.emit(event(n))
  await audit.flush()
  expect(storedNumbers()).toEqual([0, 1, 3, 4])
  expect(rejected).toHaveLength(1)
  expect(rejected[0]!.event?.metadata).toEqual({ n: 2 })
  expect(rejected[0]!.error).toMatchObject({ code: 'bad', pointer: '/metadata/n' })
})

test('events that the server cannot take just then, while it takes others, are sent again', async () => {
  let times = 0
  server.refuse = (refused) =>
    refused.metadata?.n === 2 && times++ < 2 ? { code: 'keys_unavailable', detail: 'later', status: 503 } : undefined
  const rejected: RejectedEvent[] = []
  const audit = client({ onRejected: (item) => rejected.push(item) })
  for (const n of count(5)) audit.emit(event(n))
  expect(await audit.flush()).toBe(true)
  expect(storedNumbers()).toEqual([0, 1, 3, 4, 2])
  expect(rejected).toEqual([])
  expect(audit.stats()).toMatchObject({ accepted: 5, rejected: 0 })

  server.refuse = () => ({ code: 'trail_stopped', detail: 'until somebody looks', status: 503 })
  audit.emit(event(5))
  expect(await audit.flush()).toBe(true)
  expect(rejected).toMatchObject([{ error: { code: 'trail_stopped', status: 503 } }])
  expect(audit.stats()).toMatchObject({ accepted: 5, rejected: 1 })
})

test('a batch that is too large is cut until it fits', async () => {
  server.maxEvents = 7
  const audit = client({ batchEvents: 100 })
  for (const n of count(100)) audit.emit(event(n))
  expect(await audit.flush()).toBe(true)
  expect(storedNumbers()).toEqual(count(100))
})

test('one event that the server calls malformed does not hold up the others', async () => {
  server.faults = [
    { kind: 'status', status: 400 },
    { kind: 'status', status: 400 },
  ]
  const rejected: RejectedEvent[] = []
  const audit = client({ onRejected: (item) => rejected.push(item) })
  for (const n of count(2)) audit.emit(event(n))
  expect(await audit.flush()).toBe(true)
  expect(storedNumbers()).toEqual([1])
  expect(rejected.map((item) => item.event?.metadata?.n)).toEqual([0])
})

describe('a full queue', () => {
  for (const [drop, kept] of [
    ['newest', [0, 1, 2, 3, 4]],
    ['oldest', [15, 16, 17, 18, 19]],
  ] as const) {
    test(`drops the ${drop} and says which numbers are missing`, async () => {
      const ranges: DroppedRange[] = []
      const audit = client({ drop, maxQueueEvents: 5, intervalMs: 1000, onDropped: (range) => ranges.push(range) })
      for (const n of count(20)) audit.emit(event(n))
      expect(audit.stats()).toMatchObject({ queued: 5, dropped: 15 })
      expect(await audit.flush()).toBe(true)
      audit.emit(event(20))
      await audit.flush()
      const numbers = [...server.stored.values()].map((stored) => stored.source?.seq)
      expect(numbers).toEqual([...kept, 20])
      expect(ranges).toEqual([drop === 'newest' ? { from: 5, to: 19 } : { from: 0, to: 14 }])
      expect(audit.stats().droppedRanges).toEqual(ranges)
    })
  }

  test('is also bounded in bytes', () => {
    const audit = client({ maxQueueBytes: 2000, intervalMs: 1000 })
    for (const n of count(100)) audit.emit(event(n))
    const { queuedBytes, queued, dropped } = audit.stats()
    expect(queuedBytes).toBeLessThanOrEqual(2000)
    expect(queued + dropped).toBe(100)
    expect(queued).toBeGreaterThan(5)
  })

  test('stays bounded while the server is away, and nothing is counted twice afterwards', async () => {
    server.faults = Array.from({ length: 3 }, () => ({ kind: 'reset' as const }))
    const audit = client({ maxQueueEvents: 100, batchEvents: 10 })
    for (const n of count(1000)) {
      audit.emit(event(n))
      expect(audit.stats().queued).toBeLessThanOrEqual(100)
    }
    await audit.flush()
    const stats = audit.stats()
    expect(stats.accepted + stats.dropped).toBe(1000)
    expect(stats.droppedRanges.reduce((sum, range) => sum + range.to - range.from + 1, 0)).toBe(stats.dropped)
    expect(server.stored.size).toBe(stats.accepted)
  })
})

test('emit never throws: cycles, BigInt, throwing getters and listeners', async () => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const audit = client({
    onRejected: () => {
      throw new Error('listener')
    },
  })
  audit.emit({ ...event(0), metadata: cycle as never })
  audit.emit({ ...event(1), metadata: { big: 1n as never } })
  audit.emit({
    ...event(2),
    get reason(): string {
      throw new Error('getter')
    },
  })
  audit.emit(null as never)
  audit.emit(undefined as never)
  expect(audit.stats().rejected).toBeGreaterThanOrEqual(2)
  await audit.close()
})

test('the event is copied when emitted', async () => {
  const audit = client()
  const mutable = event(1)
  audit.emit(mutable)
  mutable.metadata!.n = 2
  await audit.flush()
  expect(storedNumbers()).toEqual([1])
})

test('close gives up after its time and reports what was lost', async () => {
  server.faults = [{ kind: 'slow', ms: 3000 }]
  const ranges: DroppedRange[] = []
  const audit = client({ onDropped: (range) => ranges.push(range) })
  for (const n of count(3)) audit.emit(event(n))
  expect(await audit.close({ timeoutMs: 50 })).toBe(false)
  audit.emit(event(3))
  expect(ranges).toEqual([{ from: 0, to: 2 }])
  expect(audit.stats()).toMatchObject({ queued: 0, dropped: 4 })
})

test('flush says false when the time was not enough, and keeps the events', async () => {
  server.faults = [{ kind: 'status', status: 503, retryAfter: '1' }]
  const audit = client()
  audit.emit(event(0))
  expect(await audit.flush({ timeoutMs: 50 })).toBe(false)
  expect(audit.stats().queued).toBe(1)
  expect(await audit.flush()).toBe(true)
})

describe('when the process ends', () => {
  function run(code: string) {
    const index = new URL('../src/index.ts', import.meta.url).href
    const script = `
      import { createAffidavit } from ${JSON.stringify(index)}
      const audit = createAffidavit({ url: ${JSON.stringify(server.url)}, key: 'k', flushOn: ['SIGTERM'], emit: { intervalMs: 60000 } })
      const event = { action: 'a.b', actor: { type: 'system' } }
      ${code}`
    return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  }

  test('by itself, waiting events are sent first', async () => {
    const [code] = await once(run('for (let i = 0; i < 25; i++) audit.emit(event)'), 'exit')
    expect(code).toBe(0)
    expect(server.stored.size).toBe(25)
  })

  test('by SIGTERM, waiting events are sent first and the signal still ends it', async () => {
    const child = run('setInterval(() => {}, 1000); audit.emit(event); console.log("ready")')
    await once(child.stdout!, 'data')
    child.kill('SIGTERM')
    const [code, signal] = await once(child, 'exit')
    expect([code, signal]).toEqual([null, 'SIGTERM'])
    expect(server.stored.size).toBe(1)
  })
})
