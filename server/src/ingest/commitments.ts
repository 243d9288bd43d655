// Commitments (docs/spec/commitment.md) at the speed of the write path: tag, salt and content are joined in one scratch
// buffer and hashed by Node's one-shot hash, which is fastest when it answers in base64. trail's `commit` is the
// reference; a test holds the two together.
import { hash } from 'node:crypto'
import type { CommitmentKind } from '@affidavit/trail'

const tags: Record<CommitmentKind, string> = {
  facts: 'affidavit/1 facts\n',
  control: 'affidavit/1 control\n',
  confidential: 'affidavit/1 confidential\n',
  operator: 'affidavit/1 operator\n',
  personal: 'affidavit/1 personal\n',
}

let scratch = Buffer.alloc(4096)

/** SHA-256(tag ‖ salt ‖ UTF-8 content), standard base64. The salt has 16 bytes, or is latin1 text of as many. */
export function commitment(kind: CommitmentKind, salt: Uint8Array | string, content: string): string {
  const tag = tags[kind]
  const most = tag.length + salt.length + content.length * 3
  if (most > scratch.length) scratch = Buffer.alloc(most * 2)
  scratch.write(tag, 0, 'latin1')
  if (typeof salt === 'string') scratch.write(salt, tag.length, 'latin1')
  else scratch.set(salt, tag.length)
  const start = tag.length + salt.length
  const end = start + scratch.write(content, start, 'utf8')
  return hash('sha256', scratch.subarray(0, end), 'base64')
}
