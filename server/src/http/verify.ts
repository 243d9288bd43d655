// POST /v1/verify: a second opinion from the server about a pack or a receipt. Convenient, and worth no more than the
// server itself: who does not want to trust it verifies with the CLI or another implementation of docs/spec.
import { Worker } from 'node:worker_threads'
import { NoteError, parseVkey, VERDICTS, verifyEd25519, verifyReceipt } from '@affidavit/trail'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { sha256 } from '../store/sha256.ts'
import { Gate } from './gate.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { PackCheck } from './pack-check.ts'
import { refuse } from './refused.ts'
import { Hex16, object, Time } from './schemas.ts'

export interface VerifyParts {
  /** Verifier key of a trail under this deployment's log key. */
  readonly vkey: (trailId: string) => string
}

const packBytes = 32 * 1024 * 1024
const ReceiptsBody = Type.Object(
  { receipts: Type.Array(Type.String({ maxLength: 4096 }), { minItems: 1, maxItems: 100 }) },
  { additionalProperties: false },
)
const checkReceipts = Compile(ReceiptsBody)
const verdict = Type.Enum([...VERDICTS])
const PackVerdict = object({
  outcome: Type.Enum(['held', 'tampered', 'unchecked']),
  verdicts: object(Object.fromEntries(VERDICTS.map((name) => [name, Type.Enum(['held', 'failed', 'unchecked'])]))),
  findings: Type.Array(
    object({
      verdict,
      state: Type.Enum(['failed', 'unchecked']),
      code: Type.String(),
      seq: Type.Optional(Type.Integer()),
      message: Type.String(),
    }),
  ),
  first_wrong: Type.Optional(Type.Integer({ description: 'The lowest seq of a failed finding' })),
  assurance: Type.Enum(['anchored', 'tamper-detecting only']),
  notes: Type.Array(Type.String()),
})
const ReceiptVerdicts = object({
  receipts: Type.Array(
    object({
      outcome: Type.Enum(['signed', 'not_ours', 'malformed', 'bad_key', 'bad_signature']),
      trail: Type.Optional(Hex16),
      first: Type.Optional(Type.Integer()),
      last: Type.Optional(Type.Integer()),
      sealed_at: Type.Optional(Time),
    }),
  ),
})

/** A ZIP file that has members begins with the header of the first one. */
const zipMagic = 0x504b0304
/** What one pack may take. */
const patience_ms = 120_000
const heap_mb = 512
/** Under check and waiting, each of another tenant. */
const mostPacks = 2

export function verifyOperations(parts: VerifyParts): Operation[] {
  const queue = new PackQueue()
  return [
    {
      method: 'POST',
      path: '/v1/verify',
      operationId: 'verify',
      tag: 'Proofs',
      summary: 'Verify an evidence pack, or the signatures of receipts',
      description:
        "The server's own opinion. To verify without trusting the server, use `affidavit verify` or docs/spec.",
      scope: 'verify',
      body: { 'application/zip': Type.String({ format: 'binary' }), 'application/json': ReceiptsBody },
      bodyLimit: packBytes,
      responses: {
        200: {
          description: 'What was found',
          content: { 'application/json': Type.Union([PackVerdict, ReceiptVerdicts]) },
        },
      },
      problems: [...bodyProblems, 'rate_limited'],
      handle: (call) => (call.headers['content-type']?.includes('zip') ? ofPack(queue, call) : ofReceipts(parts, call)),
    },
  ]
}

/**
 * One pack is checked at a time, and one may wait: while it does, its bytes take room that events need. A tenant that asks
 * again and again leaves the other place to others.
 */
class PackQueue {
  readonly #gate = new Gate(1, 1)
  readonly #tenants = new Set<number | null>()

  /** @param tenant its number; null: the operator. @throws Refused `rate_limited` */
  async check(tenant: number | null, body: Buffer): Promise<PackCheck> {
    if (this.#tenants.has(tenant) || this.#tenants.size === mostPacks)
      throw refuse('rate_limited', 'Other packs are being checked.', undefined, { 'retry-after': '5' })
    this.#tenants.add(tenant)
    try {
      return await this.#gate.within(1, () => inThread(body))
    } finally {
      this.#tenants.delete(tenant)
    }
  }
}

async function ofPack(queue: PackQueue, { principal, body }: Call): Promise<Reply> {
  // A thread is not started for what is no ZIP file at all.
  if (body.length < 4 || body.readUInt32BE(0) !== zipMagic)
    throw refuse('invalid_request', 'The body is no ZIP file, so it is no pack.')
  const check = await queue.check(principal!.tenant, body)
  if (!check.ok) throw refuse('invalid_request', `The pack could not be checked: ${check.message}.`)
  // Nobody from outside is asked here, so there are no anchors to tell of.
  const { firstWrong, anchors: _anchors, ...report } = check.report
  return { status: 200, body: { ...report, ...(firstWrong !== undefined && { first_wrong: firstWrong }) } }
}

function inThread(body: Buffer): Promise<PackCheck> {
  const worker = new Worker(new URL('./pack-check.ts', import.meta.url), {
    workerData: body,
    resourceLimits: { maxOldGenerationSizeMb: heap_mb },
  })
  return new Promise((resolve) => {
    const giveUp = (message: string) => {
      resolve({ ok: false, message })
      void worker.terminate()
    }
    const timer = setTimeout(() => giveUp('it takes too long'), patience_ms)
    worker.once('message', resolve)
    worker.once('error', () => giveUp('it needs more memory than a check may have'))
    worker.once('exit', () => {
      clearTimeout(timer)
      resolve({ ok: false, message: 'the check was cut off' })
    })
  })
}

async function ofReceipts({ vkey }: VerifyParts, { body }: Call): Promise<Reply> {
  const { receipts } = jsonBody(body, checkReceipts)
  return { status: 200, body: { receipts: await Promise.all(receipts.map((note) => checkReceipt(vkey, note))) } }
}

async function checkReceipt(vkey: VerifyParts['vkey'], note: string): Promise<object> {
  try {
    const trail = /\ntrail ([0-9a-f]{32})\n/.exec(note)?.[1]
    if (trail === undefined) return { outcome: 'malformed' }
    const { receipt, verified } = await verifyReceipt(verifyEd25519, note, [parseVkey(sha256, vkey(trail))])
    const { first, last, sealedAt } = receipt
    return { outcome: verified.length > 0 ? 'signed' : 'not_ours', trail, first, last, sealed_at: sealedAt }
  } catch (error) {
    if (error instanceof NoteError) return { outcome: error.code }
    throw error
  }
}
