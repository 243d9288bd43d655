/**
 * The import itself: reads, batches, sends a few batches at a time, and accounts for every record. Memory stays bounded:
 * reading waits while all senders are busy.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Affidavit, AffidavitError, type BatchResult } from '@affidavit/sdk'
import type { ByteSource } from './bytes.ts'
import type { Format } from './format.ts'
import type { Item, Place } from './item.ts'

/** A record that did not become an event, and why. */
export interface BadRecord {
  place: Place
  reason: string
  /** The server's stable code; missing if the record never was sent. */
  code?: string
}

/** Numbers of records; `accepted + duplicates + rejected = records`. */
export interface Counts {
  records: number
  accepted: number
  duplicates: number
  rejected: number
}

export interface Summary extends Counts {
  elapsedMs: number
  /** Records by action, rejected ones included if their action is known. */
  actions: Map<string, number>
  /** Set if the import ended before the input did: what the server answered last. */
  stopped?: AffidavitError
}

/** What a progress display can know. */
export interface Progress extends Counts {
  /** Bytes of input read, as they are stored (zipped). */
  bytesRead: number
  elapsedMs: number
}

export interface ImportOptions {
  format: Format
  input: ByteSource
  /** Client of the server to import into; its own timeout bounds how long one batch is repeated. */
  client: Pick<Affidavit, 'recordMany'>
  tenant?: string | undefined
  /** Only for csv: event field → column. */
  map?: Readonly<Record<string, string>> | undefined
  keepCopies?: boolean | undefined
  /** Batches under way at once. Default 4. */
  concurrency?: number
  /** Most events in one batch. Default 1,000. */
  batchEvents?: number
  /** Called for each record that did not become an event. */
  onBad?: (bad: BadRecord) => void
  /** Called after each batch and each piece of input. */
  onProgress?: (progress: Progress) => void
}

type Sendable = Extract<Item, { ok: true }>

const BATCH_BYTES = 2 * 1024 * 1024
/** A batch is repeated through restarts of the server before the import gives up. */
const BATCH_TIMEOUT_MS = 5 * 60_000
/** Between repeats of records that the server did not take just then, while it took the rest of their batch. */
const PAUSES_MS = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000]

type Rejections = BatchResult['rejections']
type Settle = (batch: readonly Sendable[], result: BatchResult) => void

/**
 * Imports an input to its end, or until a batch fails for good; records after that are neither sent nor counted, and
 * importing the input again continues where it stopped, because ids repeat.
 */
export async function runImport(options: ImportOptions): Promise<Summary> {
  const started = performance.now()
  const counts: Counts = { records: 0, accepted: 0, duplicates: 0, rejected: 0 }
  const actions = new Map<string, number>()
  const underWay = new Set<Promise<void>>()
  let bytesRead = 0
  let stopped: AffidavitError | undefined

  const elapsedMs = () => performance.now() - started
  const progress = () => options.onProgress?.({ ...counts, bytesRead, elapsedMs: elapsedMs() })
  const bad = (one: BadRecord) => {
    counts.records++
    counts.rejected++
    options.onBad?.(one)
  }
  const settle = (batch: readonly Sendable[], result: BatchResult) => {
    counts.records += batch.length - result.rejections.length
    counts.accepted += result.accepted
    counts.duplicates += result.duplicates
    for (const item of batch) actions.set(item.action, (actions.get(item.action) ?? 0) + 1)
    for (const { index, code, detail, title, pointer } of result.rejections) {
      const where = pointer ? ` (${pointer})` : ''
      bad({ place: batch[index]!.place, reason: `${detail ?? title ?? code}${where}`, code })
    }
    progress()
  }
  const start = (batch: readonly Sendable[]) => {
    const sending = sendBatch(options, batch, settle)
      .catch((error: unknown) => {
        if (!(error instanceof AffidavitError)) throw error
        stopped ??= error
      })
      .finally(() => underWay.delete(sending))
    underWay.add(sending)
  }

  const items = options.format.read(options.input, {
    tenant: options.tenant,
    map: options.map,
    keepCopies: options.keepCopies,
    onRead: (bytes) => {
      bytesRead += bytes
      progress()
    },
  })
  for await (const batch of batches(items, options.batchEvents ?? 1000, bad)) {
    while (underWay.size >= (options.concurrency ?? 4)) await Promise.race(underWay)
    if (stopped) break
    start(batch)
  }
  await Promise.all(underWay)
  return { ...counts, elapsedMs: elapsedMs(), actions, ...(stopped ? { stopped } : {}) }
}

async function* batches(
  items: AsyncIterable<Item>,
  maxEvents: number,
  bad: (one: BadRecord) => void,
): AsyncGenerator<Sendable[]> {
  let batch: Sendable[] = []
  let bytes = 0
  for await (const item of items) {
    if (!item.ok) {
      bad({ place: item.place, reason: item.reason })
      continue
    }
    if (batch.length >= maxEvents || (batch.length > 0 && bytes + item.text.length > BATCH_BYTES)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(item)
    bytes += item.text.length
  }
  if (batch.length > 0) yield batch
}

/**
 * Sends a batch; one that the server finds too large as a whole is halved. Records that it cannot take just then are no bad
 * records: they are sent again, and the import stops where that does not help.
 */
async function sendBatch(options: ImportOptions, batch: readonly Sendable[], settle: Settle): Promise<void> {
  let rest = batch
  for (let repeat = 0; ; repeat++) {
    const result = await sendOnce(options, rest, settle)
    const later = result?.rejections.filter(isForNow) ?? []
    if (result === undefined || later.length === 0) return
    const [refused] = later as [Rejections[number]]
    const pause = PAUSES_MS[repeat]
    // A stopped trail waits for somebody to look into it.
    if (pause === undefined || refused.code === 'trail_stopped')
      throw new AffidavitError({ ...refused, status: refused.status ?? 503 })
    rest = later.map(({ index }) => rest[index]!)
    await sleep(pause)
  }
}

const isForNow = ({ status }: Rejections[number]) => status === 429 || status === 503

/** @returns undefined where the batch was halved; settles all but what the server may take later */
async function sendOnce(
  options: ImportOptions,
  batch: readonly Sendable[],
  settle: Settle,
): Promise<BatchResult | undefined> {
  try {
    const result = accountable(
      await options.client.recordMany(
        batch.map((item) => item.text),
        { personal: options.format.personalPointers, timeoutMs: BATCH_TIMEOUT_MS },
      ),
    )
    settle(...withoutDelayed(batch, result))
    return result
  } catch (error) {
    if (!(error instanceof AffidavitError) || error.status !== 413) throw error
    if (batch.length === 1) {
      const { code } = error
      const rejections = [{ index: 0, code, detail: error.message }]
      settle(batch, { accepted: 0, duplicates: 0, rejected: 1, rejections })
      return undefined
    }
    const half = batch.length >> 1
    await sendBatch(options, batch.slice(0, half), settle)
    await sendBatch(options, batch.slice(half), settle)
    return undefined
  }
}

/** What the server has decided about for good. */
function withoutDelayed(batch: readonly Sendable[], result: BatchResult): [readonly Sendable[], BatchResult] {
  const delayed = new Set(result.rejections.filter(isForNow).map(({ index }) => index))
  if (delayed.size === 0) return [batch, result]
  const places = [...batch.keys()].filter((index) => !delayed.has(index))
  const rejections = result.rejections
    .filter(({ index }) => !delayed.has(index))
    .map((rejection) => ({ ...rejection, index: places.indexOf(rejection.index) }))
  return [places.map((index) => batch[index]!), { ...result, rejected: rejections.length, rejections }]
}

/** Every refusal must name its record: an import that cannot say which line was lost has not accounted for it. */
function accountable(result: BatchResult): BatchResult {
  if (result.rejections.length === result.rejected) return result
  throw new AffidavitError({
    status: 200,
    code: 'unexpected_reply',
    detail: `the server refused ${result.rejected} events and named ${result.rejections.length}`,
  })
}
