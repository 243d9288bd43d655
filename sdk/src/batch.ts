/** POST /v1/events/batch with `Prefer: return=minimal`: what was counted, and which items were refused. */

import { AffidavitError, type Problem, readProblem } from './error.ts'
import { ndjsonBody, type Reply, type Request } from './transport.ts'

/** One refused item; `index` is its place in the batch. */
export interface Rejection extends Problem {
  index: number
  code: string
}

export interface BatchResult {
  accepted: number
  duplicates: number
  rejected: number
  rejections: Rejection[]
}

/**
 * Builds the request from events that are already JSON text.
 * `personal` names further personal values by JSON Pointer (a `*` segment stands for every element); they are added to
 * the tenant's policy for these events only. `receipts`: asks for the receipts, too.
 */
export async function batchRequest(
  lines: readonly string[],
  { personal = [], receipts = false }: { personal?: readonly string[]; receipts?: boolean } = {},
): Promise<Request> {
  const { headers, body } = await ndjsonBody(lines)
  headers.prefer = receipts ? 'return=minimal, receipts' : 'return=minimal'
  if (personal.length > 0) headers['affidavit-personal'] = personal.map(encodeURIComponent).join(',')
  return { method: 'POST', path: '/v1/events/batch', headers, body }
}

/** Reads the reply; throws `unexpected_reply` if it is not one or does not account for every item sent. */
export function readBatchReply(reply: Reply, sent: number): BatchResult {
  const body = reply.body as { accepted?: unknown; duplicates?: unknown; rejected?: unknown; results?: unknown }
  const { accepted, duplicates, rejected } = body
  if (typeof accepted !== 'number' || typeof duplicates !== 'number' || typeof rejected !== 'number')
    return unexpected(reply)
  if (accepted + duplicates + rejected !== sent) return unexpected(reply)
  const rejections: Rejection[] = []
  for (const item of Array.isArray(body.results) ? body.results : []) {
    const rejection = readRejection(item)
    if (rejection && rejection.index < sent) rejections.push(rejection)
  }
  return { accepted, duplicates, rejected, rejections }
}

/** The receipts of a reply: signed notes, and the tenant of each trail. Empty if it has none. */
export function receiptsOf(reply: Reply): { notes: string[]; tenants: Map<string, string> } {
  const { receipts, trails } = reply.body as { receipts?: unknown; trails?: unknown }
  const notes = Array.isArray(receipts) ? receipts.filter((note) => typeof note === 'string') : []
  const tenants = new Map<string, string>()
  for (const range of Array.isArray(trails) ? trails : []) {
    const { tenant, trail } = (range ?? {}) as { tenant?: unknown; trail?: unknown }
    if (typeof tenant === 'string' && typeof trail === 'string') tenants.set(trail, tenant)
  }
  return { notes, tenants }
}

function readRejection(item: unknown): Rejection | undefined {
  if (typeof item !== 'object' || item === null) return undefined
  const { index, error } = item as { index?: unknown; error?: unknown }
  if (!Number.isSafeInteger(index) || (index as number) < 0 || error === undefined) return undefined
  const problem = readProblem(error)
  return { ...problem, index: index as number, code: problem.code ?? 'unknown' }
}

function unexpected(reply: Reply): never {
  throw new AffidavitError({
    status: reply.status,
    code: 'unexpected_reply',
    detail: 'the batch reply does not account for every event',
  })
}
