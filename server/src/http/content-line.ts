// An entry's payload as packs and verifiers take it (docs/spec/pack.md, content lines).
import type { Payload } from '@affidavit/trail'
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
