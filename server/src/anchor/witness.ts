// The log's side of C2SP tlog-witness: shows a witness the newest checkpoint with a proof that the log has only grown
// since the one that the witness saw last, and takes its cosignature, checked. A witness that was away, or that saw a
// checkpoint of which we never heard back, names the size it has, and gets the proof from there.
import {
  formatAddCheckpoint,
  formatSignature,
  NoteError,
  type PolicyWitness,
  parseNote,
  parseTreeSize,
  TREE_SIZE_TYPE,
  takeCosignatures,
  verifyEd25519,
} from '@affidavit/trail'
import type { Answered, Outbound } from './outbound.ts'
import { WrongAnswer } from './place.ts'
import type { RegistryHead } from './registry-log.ts'

/** A witness of the policy file that can be asked. */
export type AskedWitness = PolicyWitness & { readonly url: string }

export interface Cosignature {
  /** The signature line with its newline. */
  readonly line: string
  /** When the witness says it signed. */
  readonly time: Date
}

const timeout_ms = 10_000
const reply_limit = 64 * 1024
/** Rounds of 409: another process of ours may talk to the same witness. */
const tries = 4
/** A witness's clock and ours may differ by so much. */
const skew_ms = 10 * 60_000

/**
 * Asks one witness to cosign `head`.
 * @param known size that it cosigned last, as far as we know; 0 for none
 * @param prove consistency proof from an older size to head's
 * @throws WrongAnswer when what it says cannot be; NoAnswer or Error when it should be asked again
 */
export async function askWitness(
  witness: AskedWitness,
  head: RegistryHead,
  known: number,
  prove: (from: number) => Promise<Uint8Array[]>,
  outbound: Outbound,
): Promise<Cosignature> {
  let old = Math.min(known, head.size)
  for (let attempt = 1; ; attempt++) {
    const request = formatAddCheckpoint({ old, proof: await prove(old), checkpoint: head.note })
    const url = `${witness.url.replace(/\/+$/, '')}/add-checkpoint`
    const headers = { 'content-type': 'text/plain; charset=utf-8' }
    const answer = await outbound.post({ url, body: request, headers, timeout_ms, limit: reply_limit })
    if (answer.status === 200) return takeCosignature(witness, head, answer)
    if (answer.status !== 409) throw refusal(answer, old, head)
    const size = conflictSize(answer, old, head)
    if (attempt === tries) throw new Error(`it names one size after another, at last ${size}`)
    old = size
  }
}

async function takeCosignature({ key }: AskedWitness, head: RegistryHead, { body }: Answered): Promise<Cosignature> {
  const { text } = parseNote(head.note)
  const taken = await takeCosignatures(verifyEd25519, text, body.toString('utf8'), [key]).catch((error: unknown) => {
    if (!(error instanceof NoteError)) throw error
    throw new WrongAnswer(
      error.code === 'bad_signature' ? 'its cosignature is wrong' : 'it answers with what is no cosignature',
    )
  })
  const [signature] = taken.signatures
  const [cosigned] = taken.cosigned
  if (signature === undefined || cosigned === undefined)
    throw new WrongAnswer('it answers without a cosignature of the key in the policy')
  const time = new Date(cosigned.time * 1000)
  // A stale one may be a replay; one ahead of time would outlive its day.
  if (!(Math.abs(time.getTime() - Date.now()) <= skew_ms)) throw new WrongAnswer('its cosignature is not of this hour')
  return { line: formatSignature(signature), time }
}

function conflictSize({ type, body }: Answered, old: number, head: RegistryHead): number {
  const size = type === TREE_SIZE_TYPE ? parseTreeSize(body.toString('latin1')) : undefined
  if (size === undefined) throw new WrongAnswer('it answers 409 without a size')
  if (size > head.size)
    throw new WrongAnswer(
      `it has cosigned size ${size} of this log, which has only ${head.size}: was the database put back to an older state?`,
    )
  if (size === old) throw forked(size) // what older witnesses answer
  return size
}

const forked = (size: number) =>
  new WrongAnswer(`it has cosigned another checkpoint of size ${size}: the log was forked, or the witness is mistaken`)

function refusal({ status, body }: Answered, old: number, head: RegistryHead): Error {
  const told = body
    .toString('utf8')
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200)
  switch (status) {
    case 404:
      return new Error(`it does not know the log ${head.origin}: its operator must add the key`)
    case 403:
      return new Error('it has another key for the log: its operator must add the newest one')
    case 422:
      if (old === head.size) return forked(old)
      return new WrongAnswer(`it denies that size ${head.size} continues the size ${old} that it cosigned`)
    default:
      return new Error(`it answers ${status} ${told}`.trim())
  }
}
