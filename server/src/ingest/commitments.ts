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

/** One for each tag, which stands in front for good. */
const scratches: Record<CommitmentKind, Buffer> = {
  facts: scratch('facts', 4096),
  control: scratch('control', 4096),
  confidential: scratch('confidential', 4096),
  operator: scratch('operator', 4096),
  personal: scratch('personal', 4096),
}

function scratch(kind: CommitmentKind, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  buffer.write(tags[kind], 'latin1')
  return buffer
}

/** SHA-256(tag ‖ salt ‖ UTF-8 content), standard base64. The salt has 16 bytes, or is latin1 text of as many. */
export function commitment(kind: CommitmentKind, salt: Uint8Array | string, content: string): string {
  const at = tags[kind].length
  const start = at + salt.length
  const most = start + content.length * 3
  if (most > scratches[kind].length) scratches[kind] = scratch(kind, most * 2)
  const bytes = scratches[kind]
  if (typeof salt === 'string') bytes.write(salt, at, 'latin1')
  else bytes.set(salt, at)
  const end = start + bytes.write(content, start, 'utf8')
  return hash('sha256', bytes.subarray(0, end), 'base64')
}
