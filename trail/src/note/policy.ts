/**
 * C2SP tlog-policy: whom a verifier believes. Logs that may sign, witnesses that may cosign, and the quorum of them
 * that a checkpoint needs. Names are compared byte for byte and mean nothing outside the file.
 */
import { toBase64 } from '../bytes.ts'
import { FormatError } from '../format-error.ts'
import type { Hash, VerifySignature } from '../hash.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { COSIGNATURE, ED25519, NoteError, parseVkey, type VerifiedNote, type VerifierKey, verifyNote } from './note.ts'

const MAX_POLICY_BYTES = 1_000_000
/** Of each of logs, witnesses and groups; the specification asks for 32. */
const MAX_DEFINED = 256
/** Predefined as a quorum, and nothing else. */
const NONE = 'none'

export interface PolicyLog {
  readonly key: VerifierKey
  readonly url?: string
}

export interface PolicyWitness {
  readonly name: string
  readonly key: VerifierKey
  /** Its submission prefix. */
  readonly url?: string
}

export interface PolicyGroup {
  readonly name: string
  /** How many members must have witnessed, from 1. */
  readonly threshold: number
  /** Names of witnesses and of groups that stand before this one. */
  readonly members: readonly string[]
}

export interface TrustPolicy {
  readonly logs: readonly PolicyLog[]
  readonly witnesses: readonly PolicyWitness[]
  readonly groups: readonly PolicyGroup[]
  /** Name of a witness or group, or `none`. */
  readonly quorum: string
}

/** Throws FormatError with the line concerned. Keys of types that cannot be verified here are kept and never count. */
export function parsePolicy(hash: Hash, bytes: Uint8Array | string): TrustPolicy {
  const reader = new PolicyReader(hash)
  const lines = decode(bytes).split('\n')
  for (const [at, line] of lines.entries()) reader.read(line, at + 1)
  return reader.policy(lines.length)
}

function decode(bytes: Uint8Array | string): string {
  if (bytes.length > MAX_POLICY_BYTES) throw new FormatError('too_large', 'the policy is too large')
  if (typeof bytes === 'string') return bytes
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // Not UTF-8: every octet stands for itself, which keeps different names different.
    return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
  }
}

class PolicyReader {
  private readonly hash: Hash
  private readonly logs: PolicyLog[] = []
  private readonly witnesses: PolicyWitness[] = []
  private readonly groups: PolicyGroup[] = []
  private readonly logKeys = new Set<string>()
  private readonly witnessKeys = new Set<string>()
  private readonly names = new Set<string>()
  private readonly members = new Set<string>()
  private quorum: string | undefined
  private line = 0

  constructor(hash: Hash) {
    this.hash = hash
  }

  read(text: string, line: number): void {
    this.line = line
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(text)) throw this.refuse('malformed', 'a control character')
    const words = text.split(/[ \t]+/).filter((word) => word !== '')
    const [keyword, ...rest] = words
    if (keyword === undefined || keyword.startsWith('#')) return
    if (keyword === 'log') this.readLog(rest)
    else if (keyword === 'witness') this.readWitness(rest)
    else if (keyword === 'group') this.readGroup(rest)
    else if (keyword === 'quorum') this.readQuorum(rest)
    else throw this.refuse('malformed', `unknown keyword ${JSON.stringify(keyword.slice(0, 40))}`)
  }

  policy(lines: number): TrustPolicy {
    if (this.quorum === undefined) throw new FormatError('malformed', 'the policy has no quorum line', lines)
    return { logs: this.logs, witnesses: this.witnesses, groups: this.groups, quorum: this.quorum }
  }

  private readLog(words: string[]): void {
    const [vkey, url] = words
    if (vkey === undefined || words.length > 2) throw this.refuse('malformed', 'a log line is: log <vkey> [<url>]')
    const key = this.key(vkey, this.logKeys)
    if (key.type === COSIGNATURE) throw this.refuse('bad_key', 'that is the key of a witness, not of a log')
    this.add(this.logs, { key, ...(url !== undefined && { url }) })
  }

  private readWitness(words: string[]): void {
    const [name, vkey, url] = words
    if (name === undefined || vkey === undefined || words.length > 3)
      throw this.refuse('malformed', 'a witness line is: witness <name> <vkey> [<url>]')
    const key = this.key(vkey, this.witnessKeys)
    if (key.type === ED25519) throw this.refuse('bad_key', 'that is the key of a log, not of a witness')
    this.define(name)
    this.add(this.witnesses, { name, key, ...(url !== undefined && { url }) })
  }

  private readGroup(words: string[]): void {
    const [name, rule, ...members] = words
    if (name === undefined || rule === undefined || members.length === 0)
      throw this.refuse('malformed', 'a group line is: group <name> all|any|<k> <member>…')
    for (const member of members) {
      if (!this.names.has(member)) throw this.undefinedName(member)
      if (this.members.has(member)) throw this.refuse('duplicate', `${JSON.stringify(member)} is a member already`)
      this.members.add(member)
    }
    const threshold = rule === 'all' ? members.length : rule === 'any' ? 1 : Number(rule)
    const isNumber = /^[1-9][0-9]{0,3}$/.test(rule) || rule === 'all' || rule === 'any'
    if (!isNumber || threshold > members.length)
      throw this.refuse('malformed', `the threshold must be all, any, or from 1 to ${members.length}`)
    this.define(name)
    this.add(this.groups, { name, threshold, members })
  }

  private readQuorum(words: string[]): void {
    const [name] = words
    if (name === undefined || words.length > 1) throw this.refuse('malformed', 'a quorum line is: quorum <name>')
    if (this.quorum !== undefined) throw this.refuse('duplicate', 'a second quorum line')
    if (name !== NONE && !this.names.has(name)) throw this.undefinedName(name)
    this.quorum = name
  }

  private key(vkey: string, seen: Set<string>): VerifierKey {
    let key: VerifierKey
    try {
      key = parseVkey(this.hash, vkey)
    } catch (error) {
      if (error instanceof NoteError) throw this.refuse('bad_key', error.message)
      throw error
    }
    // The specification compares public keys, whatever their names and ids.
    const publicKey = toBase64(key.publicKey)
    if (seen.has(publicKey)) throw this.refuse('duplicate', 'this key stands in the policy already')
    seen.add(publicKey)
    return key
  }

  private define(name: string): void {
    if (name === NONE || this.names.has(name))
      throw this.refuse('duplicate', `the name ${JSON.stringify(name.slice(0, 80))} is taken`)
    this.names.add(name)
  }

  private add<T>(list: T[], item: T): void {
    if (list.length === MAX_DEFINED) throw this.refuse('too_large', `more than ${MAX_DEFINED} of a kind`)
    list.push(item)
  }

  private undefinedName(name: string): FormatError {
    return this.refuse('undefined_name', `no line before this one defines ${JSON.stringify(name.slice(0, 80))}`)
  }

  private refuse(code: FormatError['code'], why: string): FormatError {
    return new FormatError(code, why, this.line)
  }
}

/**
 * The policy of vkeys given one by one: any of `logs` may sign, `quorum` of `witnesses` must cosign (all, when left
 * out; 0 for none). Throws FormatError.
 */
export function makePolicy(
  hash: Hash,
  {
    logs,
    witnesses,
    quorum = witnesses.length,
  }: { logs: readonly string[]; witnesses: readonly string[]; quorum?: number },
): TrustPolicy {
  if (!Number.isSafeInteger(quorum) || quorum < 0 || quorum > witnesses.length)
    throw new FormatError('malformed', `a quorum of ${quorum} of ${witnesses.length} witnesses cannot be met`)
  const lines = [
    ...logs.map((vkey) => `log ${vkey}`),
    ...witnesses.map((vkey, at) => `witness w${at + 1} ${vkey}`),
    ...(quorum > 0 ? [`group all-given ${quorum} ${witnesses.map((_, at) => `w${at + 1}`).join(' ')}`] : []),
    `quorum ${quorum > 0 ? 'all-given' : NONE}`,
  ]
  return parsePolicy(hash, lines.join('\n'))
}

/** Every key of the policy, for `verifyNote`. */
export function policyKeys(policy: TrustPolicy): VerifierKey[] {
  return [...policy.logs, ...policy.witnesses].map(({ key }) => key)
}

/** Whether these cosigners, all of whose cosignatures were verified, are a quorum. Keys of nobody count for nothing. */
export function meetsQuorum(policy: TrustPolicy, cosigners: Iterable<VerifierKey>): boolean {
  if (policy.quorum === NONE) return true
  const keys = new Set(Array.from(cosigners, identity))
  const witnessed = new Set(policy.witnesses.filter(({ key }) => keys.has(identity(key))).map(({ name }) => name))
  for (const { name, threshold, members } of policy.groups)
    if (members.filter((member) => witnessed.has(member)).length >= threshold) witnessed.add(name)
  return witnessed.has(policy.quorum)
}

function identity({ name, type, publicKey }: VerifierKey): string {
  return `${type} ${toBase64(publicKey)} ${name}`
}

export interface CheckpointVerdict {
  readonly checkpoint: Checkpoint
  /** One of the policy's logs, named like the checkpoint's origin, signed it. */
  readonly signed: boolean
  /** The witnesses that cosigned, by their names in the policy, and when (seconds since 1970). */
  readonly cosigned: readonly { readonly name: string; readonly time: number }[]
  readonly quorum: boolean
}

/** What a policy says of a note that was verified with `policyKeys`. Throws NoteError when it is no checkpoint. */
export function judgeCheckpoint(policy: TrustPolicy, note: VerifiedNote): CheckpointVerdict {
  const checkpoint = parseCheckpoint(note.text)
  const signers = new Set(note.verified.filter(({ name }) => name === checkpoint.origin).map(identity))
  return {
    checkpoint,
    signed: policy.logs.some(({ key }) => signers.has(identity(key))),
    cosigned: policy.witnesses.flatMap(({ name, key }) => {
      const own = note.cosigned.find((cosigned) => identity(cosigned.key) === identity(key))
      return own === undefined ? [] : [{ name, time: own.time }]
    }),
    quorum: meetsQuorum(
      policy,
      note.cosigned.map(({ key }) => key),
    ),
  }
}

/** A signed checkpoint under a policy: it holds when it is `signed` and `quorum`. Throws NoteError. */
export async function verifyCheckpoint(
  verify: VerifySignature,
  note: Uint8Array | string,
  policy: TrustPolicy,
): Promise<CheckpointVerdict> {
  return judgeCheckpoint(policy, await verifyNote(verify, note, policyKeys(policy)))
}
