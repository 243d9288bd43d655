// POST /v1/verify: a second opinion from the server about a pack or a receipt. Convenient, and worth no more than the
// server itself: who does not want to trust it verifies with the CLI or another implementation of docs/spec.
import {
  NoteError,
  type PackError,
  PackReader,
  parseVkey,
  verifyEd25519,
  verifyPack,
  verifyReceipt,
} from '@affidavit/trail'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { parseStrict } from '../ingest/strict-json.ts'
import { sha256 } from '../query/sha256.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { Refused, refuse } from './refused.ts'

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
const Verdicts = Type.Object({}, { additionalProperties: true, description: 'Outcome, separate verdicts and findings' })

export function verifyOperations(parts: VerifyParts): Operation[] {
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
      responses: { 200: { description: 'What was found', content: { 'application/json': Verdicts } } },
      problems: ['invalid_json', 'invalid_value', 'invalid_request'],
      handle: (call) => (call.headers['content-type']?.includes('zip') ? ofPack(call) : ofReceipts(parts, call)),
    },
  ]
}

async function ofPack({ body }: Call): Promise<Reply> {
  const file = {
    size: body.length,
    read: async (offset: number, length: number) => body.subarray(offset, offset + length),
  }
  try {
    const report = await verifyPack(await PackReader.open(sha256, file), { hash: sha256, verify: verifyEd25519 })
    return { status: 200, body: report }
  } catch (error) {
    if ((error as PackError).name !== 'PackError') throw error
    throw refuse('invalid_request', `The pack could not be checked: ${(error as Error).message}.`)
  }
}

async function ofReceipts({ vkey }: VerifyParts, { body }: Call): Promise<Reply> {
  const parsed = parseStrict(body)
  if (!parsed.ok) throw new Refused(parsed.problem)
  if (!checkReceipts.Check(parsed.value))
    throw refuse('invalid_value', 'Send {"receipts": ["…"]} with 1 to 100 signed notes.', '/receipts')
  const results = await Promise.all(parsed.value.receipts.map((note) => checkReceipt(vkey, note)))
  return { status: 200, body: { receipts: results } }
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
