/** What a verifier has from elsewhere (keys, checkpoints, a policy, the state file), and what of it concerns a trail. */
import {
  type Checkpoint,
  formatVkey,
  logNameOf,
  logOfRegistry,
  NoteError,
  parseCheckpoint,
  parseNote,
  pinsFor,
  type TimestampOptions,
  type TrustPolicy,
  type VerifierKey,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { count } from '../../terminal.ts'
import { nodeSha256 } from '../node-hash.ts'
import type { Report } from '../report.ts'
import { type Kept, readKept, readVkeys, State } from './kept.ts'
import { readAuthorities } from './timestamp-authorities.ts'
import { type PolicyArguments, readPolicy } from './witness-policy.ts'

export interface VerifyArguments extends PolicyArguments {
  readonly tenant?: string
  readonly key?: string
  readonly vkey?: readonly string[]
  readonly checkpoint?: readonly string[]
  readonly state?: string
  /** Seconds. */
  readonly maxAge?: number
  /** Files with certificates of timestamp authorities, or of those who certify them. */
  readonly tsaCa?: readonly string[]
  /** File for an accusation, if there is one to make. */
  readonly accusation?: string
  readonly deep?: boolean
  readonly deepValues?: number
  /** Of the entry that a tlog-proof file is for: 64 hex digits. */
  readonly hash?: string
  readonly json?: boolean
}

/** What the verifier brings along. */
export interface Brought {
  readonly vkeys: readonly VerifierKey[]
  /** Of trails and registries, as they were given. */
  readonly checkpoints: readonly Kept[]
  readonly state: State | undefined
  readonly policy: TrustPolicy | undefined
  /** Whose timestamps count. */
  readonly timestamps: TimestampOptions | undefined
}

export const NOTHING: Brought = {
  vkeys: [],
  checkpoints: [],
  state: undefined,
  policy: undefined,
  timestamps: undefined,
}

/** Reads what the options name. Throws Failure. */
export async function bring(options: VerifyArguments): Promise<Brought> {
  const files = await Promise.all((options.checkpoint ?? []).map(readKept))
  const policy = await readPolicy(options)
  const brought: Brought = {
    // A log that a policy lists is a key from outside like any other.
    vkeys: [...readVkeys(options.vkey ?? []), ...(policy?.logs.map(({ key }) => key) ?? [])],
    checkpoints: files.flat(),
    state: options.state === undefined ? undefined : await State.load(options.state),
    policy,
    timestamps: await readAuthorities(options.tsaCa),
  }
  for (const kept of brought.checkpoints) await checkKeyed(kept, brought.vkeys)
  return brought
}

/** What was brought must agree with itself before anybody is accused by it. */
async function checkKeyed(kept: Kept, vkeys: readonly VerifierKey[]): Promise<void> {
  if (vkeys.length === 0 || (await isSigned(kept, vkeys))) return
  throw new Failure(`${kept.label} is not signed by the key given. One of the two is not of this log.`)
}

/** Whether one of the log's keys, pinned under any name of the log, signed a kept checkpoint. */
export async function isSigned(kept: Kept, keys: readonly VerifierKey[] | undefined): Promise<boolean> {
  const own = keysFor(keys ?? [], kept.origin)
  const { verified } = await verifyNote(verifyEd25519, kept.note, own).catch((error: unknown) => {
    if (error instanceof NoteError) return { verified: [] }
    throw error
  })
  return verified.length > 0
}

/** `pinsFor` with the hash of this program. */
export const keysFor = (keys: readonly VerifierKey[], origin: string): VerifierKey[] =>
  pinsFor(nodeSha256, keys, origin)

export interface Held {
  /** Undefined: no key from outside. */
  readonly vkeys: readonly VerifierKey[] | undefined
  /** Ascending by size. */
  readonly kept: readonly Kept[]
  readonly against: readonly string[]
  readonly notes: readonly string[]
}

/** Checkpoints of this log's registries. */
export const registryCheckpoints = ({ checkpoints }: Brought, logName: string): Kept[] =>
  checkpoints.filter(({ origin }) => logOfRegistry(origin) === logName)

/** Checkpoints as `against` names them. */
export const keptAgainst = (kept: readonly Kept[]): string[] =>
  kept.map(({ label, size }) => `${label} (size ${count(size)})`)

/**
 * What of the things brought concerns this trail. A checkpoint that concerns neither it, nor its registry, nor one of
 * the `others` is held against it all the same: whoever brought it must hear that it is of something else.
 */
export function holdAgainst(brought: Brought, origin: string, others: readonly string[] = []): Held {
  const { vkeys, checkpoints, state } = brought
  const known = state?.of(origin)
  const registries = registryCheckpoints(brought, logNameOf(origin))
  const given = checkpoints.filter((kept) => !registries.includes(kept) && !others.includes(kept.origin))
  const kept = [...given, ...(known === undefined ? [] : [known.kept])]
  const against: string[] = []
  const notes: string[] = []
  if (vkeys.length > 0) against.push('the key given')
  else if (known !== undefined) against.push('the key of the first visit')
  against.push(...keptAgainst(kept))
  if (state !== undefined && known === undefined)
    notes.push('this is the first visit: nothing was kept before to compare with')
  if (vkeys.length > 0 && kept.length === 0 && brought.policy === undefined)
    notes.push('only a key was brought: whoever holds the signing key could still have written all of it anew')
  return {
    vkeys: vkeys.length > 0 ? keysFor(vkeys, origin) : known?.keys,
    kept: kept.sort((a, b) => a.size - b.size),
    against,
    notes,
  }
}

export interface Verified {
  readonly origin: string
  readonly note: string
  readonly keys: readonly VerifierKey[]
  readonly place?: { readonly url: string; readonly tenant: string }
}

/** Notes the verified checkpoint and its key in the state, if there is one. @returns whether it did */
export async function remember(state: State | undefined, { origin, note, keys, place }: Verified): Promise<boolean> {
  if (state === undefined) return false
  const { verified } = await verifyNote(verifyEd25519, note, keys)
  const key = verified.find(({ name }) => name === origin)
  if (key === undefined) return false
  state.keep(origin, formatVkey(nodeSha256, key.name, key.publicKey), note, place)
  return true
}

export const KEPT_NOTE = 'the checkpoint was kept in the state file; the next run compares with it'

export function readNote(note: string): Checkpoint | undefined {
  try {
    return parseCheckpoint(parseNote(note).text)
  } catch {
    return undefined // the signature verdict says why
  }
}

export function subjectOf(
  name: string,
  { origin, size, covered }: { origin: string; size: number; covered: number },
  checkpoint: Checkpoint | undefined,
  { against }: Pick<Held, 'against'>,
): Report['subject'] {
  const root = checkpoint === undefined ? {} : { root: Buffer.from(checkpoint.root).toString('hex') }
  return { name, origin, size, ...root, covered, against }
}
