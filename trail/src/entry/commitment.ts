/**
 * Commitments: what an entry says about content that may be forgotten (docs/spec/commitment.md). Over plaintext and
 * salted, so that re-encryption never changes an entry and an erased value cannot be guessed from its hash.
 */
import { type Hash, type HmacKey, hashText, hmac } from '../hash.ts'

export const SALT_BYTES = 16

/** `control` is the facts line of a control entry; the other names are those of the lines. */
export type CommitmentKind = 'facts' | 'control' | 'confidential' | 'operator' | 'personal'

const ascii = new TextEncoder()
/** What stands in front of the salt. */
export const TAGS: Readonly<Record<CommitmentKind, Uint8Array>> = {
  facts: ascii.encode('affidavit/1 facts\n'),
  control: ascii.encode('affidavit/1 control\n'),
  confidential: ascii.encode('affidavit/1 confidential\n'),
  operator: ascii.encode('affidavit/1 operator\n'),
  personal: ascii.encode('affidavit/1 personal\n'),
}

/** Grows to the largest content seen and is reused: a commitment is computed for every line of every event. */
let scratch = new Uint8Array(65_536)

/** SHA-256(tag ‖ 16 salt bytes ‖ content); text content is hashed as UTF-8. Throws RangeError for another salt length. */
export function commit(hash: Hash, kind: CommitmentKind, salt: Uint8Array, content: Uint8Array | string): Uint8Array {
  return hash(committed(kind, salt, content))
}

/** `commit` as an entry spells it. */
export function commitText(hash: Hash, kind: CommitmentKind, salt: Uint8Array, content: Uint8Array | string): string {
  return hashText(hash, committed(kind, salt, content))
}

/** The bytes that a commitment hashes, in the scratch buffer. */
function committed(kind: CommitmentKind, salt: Uint8Array, content: Uint8Array | string): Uint8Array {
  if (salt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes, not ${salt.length}`)
  const tag = TAGS[kind]
  const start = tag.length + SALT_BYTES
  const most = start + (typeof content === 'string' ? content.length * 3 : content.length)
  if (most > scratch.length) scratch = new Uint8Array(most * 2)
  scratch.set(tag)
  scratch.set(salt, tag.length)
  let end = start
  if (typeof content === 'string') end += ascii.encodeInto(content, scratch.subarray(start)).written
  else {
    scratch.set(content, start)
    end += content.length
  }
  return scratch.subarray(0, end)
}

/**
 * The salt of personal line `line` (0–99): HMAC-SHA256(subject's salt key, facts salt ‖ one byte line)[:16]. It need
 * not be stored, and with the subject's key every one of them is gone.
 */
export function personalSalt(hash: Hash, subject: HmacKey, factsSalt: Uint8Array, line: number): Uint8Array {
  if (factsSalt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes, not ${factsSalt.length}`)
  if (!Number.isInteger(line) || line < 0 || line > 99) throw new RangeError(`no personal line ${line}`)
  const message = new Uint8Array(SALT_BYTES + 1)
  message.set(factsSalt)
  message[SALT_BYTES] = line
  return hmac(hash, subject, message).slice(0, SALT_BYTES)
}
