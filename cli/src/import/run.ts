/**
 * The import itself: reads, batches, sends a few batches at a time, and accounts for every record. Memory stays bounded:
 * reading waits while all senders are busy.
 */

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

/** Sends a batch; one that the server finds too large as a whole is halved. */
async function sendBatch(
  options: ImportOptions,
  batch: readonly Sendable[],
  settle: (batch: readonly Sendable[], result: BatchResult) => void,
): Promise<void> {
  try {
    const result = await options.client.recordMany(
      batch.map((item) => item.text),
      { personal: options.format.personalPointers, timeoutMs: BATCH_TIMEOUT_MS },
    )
    settle(batch, accountable(result))
  } catch (error) {
    if (!(error instanceof AffidavitError) || error.status !== 413) throw error
    if (batch.length === 1) {
      const { code } = error
      settle(batch, {
        accepted: 0,
        duplicates: 0,
        rejected: 1,
        rejections: [{ index: 0, code, detail: error.message }],
      })
      return
    }
    const half = batch.length >> 1
    await sendBatch(options, batch.slice(0, half), settle)
    await sendBatch(options, batch.slice(half), settle)
  }
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
