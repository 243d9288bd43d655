// An entry's payload as packs and verifiers take it (docs/spec/pack.md, content lines).
import { encodeContent, type Payload } from '@affidavit/trail'
import type { SealedEntry } from '../query/entries.ts'

type Part = { readonly content: string; readonly salt: Buffer }

const part = ({ content, salt }: Part) => ({ salt: salt.toString('base64'), content })

export function payloadOf({ seq, content }: SealedEntry): Payload {
  const personal = content.personal.flatMap((line, n) => (line === null ? [] : [{ n, ...part(line) }]))
  return {
    seq,
    ...(content.facts !== undefined && { facts: part(content.facts) }),
    ...(content.confidential !== undefined && { confidential: part(content.confidential) }),
    ...(content.operator !== undefined && { operator: part(content.operator) }),
    ...(personal.length > 0 && { personal }),
  }
}

export function contentLine(entry: SealedEntry): string {
  return encodeContent(payloadOf(entry))
}

/** One payload for each seq from `from` to before `to`: where no row is left, one that says only that. */
export async function* everyPayload(
  entries: AsyncIterable<SealedEntry>,
  from: number,
  to: number,
): AsyncGenerator<Payload> {
  let next = from
  for await (const entry of entries) {
    for (; next < entry.seq; next++) yield { seq: next }
    yield payloadOf(entry)
    next = entry.seq + 1
  }
  for (; next < to; next++) yield { seq: next }
}
