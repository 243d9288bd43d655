/**
 * Hostile input to the parsers of notes, proofs, tiles, slot proofs, policies, requests and accusations: whatever
 * comes, the answer is a value or the parser's own error; what is accepted is the only spelling of itself; and a
 * document that verified never verifies after a change that means something else. AFFIDAVIT_LONG=1 makes over a million
 * cases: a plain generator with a seed, because a million cases of fast-check would take minutes.
 */
import { describe, expect, it } from 'vitest'
import {
  checkSlotProof,
  concatBytes,
  decodeBundle,
  decodeRegistryEntry,
  decodeTile,
  EntryError,
  encodeBundle,
  encodeRegistryEntry,
  equalBytes,
  FormatError,
  formatAccusation,
  formatAddCheckpoint,
  formatReceipt,
  formatSignature,
  formatSlotProof,
  formatTlogProof,
  makePolicy,
  meetsQuorum,
  NoteError,
  parseAccusation,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  parsePolicy,
  parseReceipt,
  parseSignatures,
  parseSlotProof,
  parseTilePath,
  parseTlogProof,
  parseTreeSize,
  parseVkey,
  policyKeys,
  proveConsistency,
  proveInclusion,
  sha256,
  type TrustPolicy,
  tilePath,
  verifyAccusation,
  verifyConsistency,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  verifyTlogProof,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  cosigned,
  forkAccusation,
  headOf,
  leafAccusation,
  makeEpoch,
  makeSuccessor,
  POLICY,
  REGISTRY,
  REGISTRY_VKEY,
  receiptOf,
  SampleLog,
  WITNESSES,
} from './sample-registry.ts'
import { LOG, makeTrail, OPEN, readNode, rootOf, seededKey } from './sample-trail.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
/** Cases per document; checking the proofs themselves is cheaper and gets more. */
const CASES = long ? 21_000 : 300
/** Cases that check signatures, which take a tenth of a millisecond each. */
const SIGNED_CASES = long ? 3_000 : 60

const plan = Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {}))
const trail = makeTrail(plan)
const rewritten = makeTrail(plan, new Map([[4, '{"action":"rewritten"}']]))
const epochs = [makeEpoch(1, 5, trail, 5), makeEpoch(2, 12, trail, 5), makeEpoch(3, 13, trail, 9)]
const log = new SampleLog(epochs.map(({ entry }) => entry))
const note = await cosigned(await log.note())
const receipt = await receiptOf(trail, 5, 6)
const head = await headOf(epochs, 1)
const accusations = [
  await leafAccusation(trail, rewritten, 6),
  { kind: 'missing', receipt, head } as const,
  await forkAccusation(trail, rewritten, 6),
]
const successor = await makeSuccessor(seededKey(REGISTRY, 'successor').vkey)
const request = { old: 2, proof: await log.consistency(2), checkpoint: note }
const proof = { ...(await log.proof(1)), checkpoint: note }
const policyText = [
  '# whom we believe',
  `log ${REGISTRY_VKEY} https://log.example/`,
  ...WITNESSES.map(({ vkey }, at) => `witness w${at}\t${vkey}`),
  'group one any w0',
  'group both 2 one w1',
  'quorum both',
  '',
].join('\n')

const utf8 = new TextEncoder()
const loose = new TextDecoder('utf-8', { ignoreBOM: true })

/** A generator of 32-bit numbers (xorshift); the same cases in every run. */
class Dice {
  private state: number

  constructor(seed: string) {
    this.state = sha256(utf8.encode(seed)).reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, 7) || 1
  }

  /** From 0 to `limit` − 1. */
  roll(limit: number): number {
    this.state ^= this.state << 13
    this.state ^= this.state >>> 17
    this.state ^= this.state << 5
    return (this.state >>> 0) % limit
  }
}

const PIECES = [
  '\n',
  '\n\n',
  ' ',
  '\t',
  '0',
  '1',
  '-1',
  '00',
  '9007199254740993',
  '=',
  '+',
  '/',
  'A',
  '—',
  '— ',
  '\r\n',
  '\u0000',
  '\ufeff',
  'é',
  '#',
  'any',
  'none',
]
  .map((piece) => utf8.encode(piece))
  .concat([Uint8Array.of(0xff), Uint8Array.of(0xe2, 0x80)])

/** The document with one to three places overwritten, cut out, doubled or moved. */
function damage(good: Uint8Array, dice: Dice): Uint8Array {
  let bytes = good
  for (let edits = 1 + dice.roll(3); edits > 0; edits--) {
    const at = dice.roll(bytes.length + 1)
    const end = Math.min(bytes.length, at + [0, 1, 1, 4, 44, 200][dice.roll(6)]!)
    const kind = dice.roll(8)
    const put =
      kind < 3
        ? PIECES[dice.roll(PIECES.length)]!
        : kind === 3
          ? Uint8Array.of(dice.roll(256))
          : kind === 4
            ? bytes.subarray(dice.roll(bytes.length + 1)).subarray(0, dice.roll(120))
            : kind === 5 && at < bytes.length
              ? Uint8Array.of(bytes[at]! ^ (1 << dice.roll(8)))
              : new Uint8Array(0)
    // A flipped bit replaces one byte, a doubled piece replaces none.
    const from = kind === 5 ? at + put.length : kind === 6 ? at : end
    const rest = kind === 6 ? concatBytes([bytes.subarray(at, end), bytes.subarray(at)]) : bytes.subarray(from)
    bytes = concatBytes([bytes.subarray(0, at), put, rest])
  }
  return bytes
}

let cases = 0

/** Reads damaged copies of `good`; what is not refused with one of `errors` must be written as it stood. */
function holds<T>(
  name: string,
  good: Uint8Array | string,
  read: (bytes: Uint8Array) => T,
  errors: readonly (abstract new (...parts: never[]) => Error)[],
  write?: (value: T) => Uint8Array | string,
): void {
  const bytes = typeof good === 'string' ? utf8.encode(good) : good
  read(bytes)
  const dice = new Dice(name)
  let accepted = 0
  for (let i = 0; i < CASES; i++, cases++) {
    const changed = damage(bytes, dice)
    let value: T
    try {
      value = read(changed)
    } catch (error) {
      if (!errors.some((kind) => error instanceof kind)) throw error
      continue
    }
    accepted++
    if (write === undefined) continue
    const again = write(value)
    const same = equalBytes(typeof again === 'string' ? utf8.encode(again) : again, changed)
    if (!same) expect.fail(`${name}: accepted a second spelling: ${JSON.stringify(loose.decode(changed))}`)
  }
  // A fuzzer all of whose input is refused at the first byte, or accepted, finds nothing.
  expect(accepted, name).toBeLessThan(CASES)
}

const asText =
  <T>(read: (text: string) => T) =>
  (bytes: Uint8Array) =>
    read(loose.decode(bytes))
const refused = (): never => {
  throw new RangeError('refused')
}

describe('parsers refuse or read the only spelling', () => {
  it('notes, signatures, checkpoints, receipts, keys', () => {
    holds(
      'note',
      note,
      parseNote,
      [NoteError],
      (read) => `${read.text}\n${read.signatures.map(formatSignature).join('')}`,
    )
    holds('signatures', note.slice(note.indexOf('—')), asText(parseSignatures), [NoteError])
    const { text } = parseNote(note)
    holds('checkpoint', text, asText(parseCheckpoint), [NoteError])
    const receiptText = parseNote(receipt).text
    holds(
      'receipt',
      receiptText,
      (bytes) => ({ bytes, value: parseReceipt(loose.decode(bytes)) }),
      [NoteError],
      (read) => (loose.decode(read.bytes).includes('\ufffd') ? read.bytes : formatReceipt(read.value)),
    )
    for (const vkey of [LOG.vkey, WITNESSES[0]!.vkey])
      holds('vkey', vkey, (bytes) => parseVkey(sha256, loose.decode(bytes)), [NoteError])
    holds(
      'tree size',
      '4711\n',
      (bytes) => parseTreeSize(loose.decode(bytes)) ?? refused(),
      [RangeError],
      (n) => `${n}\n`,
    )
  })

  it('registry entries', () => {
    const continues = { kind: 'continues', origin: REGISTRY, size: 3, root: rootOf(trail) } as const
    for (const entry of [epochs[0]!.entry, continues])
      holds(entry.kind, encodeRegistryEntry(entry), decodeRegistryEntry, [EntryError], encodeRegistryEntry)
    holds('successor', encodeRegistryEntry(successor), decodeRegistryEntry, [EntryError], encodeRegistryEntry)
  })

  it('slot proofs, log proofs, requests', () => {
    holds('slot', formatSlotProof(head.slot), parseSlotProof, [FormatError], formatSlotProof)
    holds('tlog-proof', formatTlogProof(proof), parseTlogProof, [FormatError], formatTlogProof)
    const withExtra = { ...proof, extra: Uint8Array.of(1, 2, 3, 4) }
    holds('tlog-proof, extra', formatTlogProof(withExtra), parseTlogProof, [FormatError], formatTlogProof)
    holds('request', formatAddCheckpoint(request), parseAddCheckpoint, [FormatError], formatAddCheckpoint)
  })

  it('accusations', () => {
    for (const accusation of accusations)
      holds(accusation.kind, formatAccusation(accusation), parseAccusation, [FormatError], formatAccusation)
  })

  it('tiles, bundles, tile paths', () => {
    const bundle = encodeBundle(trail.bytes)
    holds('bundle', bundle, (bytes) => decodeBundle(bytes) ?? refused(), [RangeError], encodeBundle)
    const tile = concatBytes(trail.leaves)
    holds(
      'tile',
      tile,
      (bytes) => decodeTile(bytes) ?? refused(),
      [RangeError],
      (hashes) => concatBytes(hashes),
    )
    const path = 'tile/entries/x001/x234/067.p/12'
    holds('path', path, (bytes) => parseTilePath(loose.decode(bytes)) ?? refused(), [RangeError], tilePath)
  })

  it('policies: what is accepted lists no key twice and a quorum that all witnesses together meet', () => {
    const read = (bytes: Uint8Array): TrustPolicy => parsePolicy(nodeSha256, bytes)
    holds('policy', policyText, read, [FormatError], undefined)
    const dice = new Dice('policy rules')
    for (let i = 0; i < CASES; i++, cases++) {
      let policy: TrustPolicy
      try {
        policy = read(damage(utf8.encode(policyText), dice))
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
        continue
      }
      const keys = policy.witnesses.map(({ key }) => key)
      if (new Set(keys.map(({ publicKey }) => publicKey.join())).size < keys.length) expect.fail('a key twice')
      if (!meetsQuorum(policy, keys)) expect.fail('all together are no quorum')
      if (policy.quorum !== 'none' && meetsQuorum(policy, [])) expect.fail('nobody is a quorum')
    }
  })
})

describe('what verified does not verify once it says something else', () => {
  it('inclusion and consistency proofs', async () => {
    const read = readNode(trail)
    const root = rootOf(trail)
    const dice = new Dice('proofs')
    const inclusion = await Promise.all(trail.leaves.map((_, at) => proveInclusion(nodeSha256, read, at, 9)))
    const consistency = await Promise.all(trail.leaves.map((_, at) => proveConsistency(nodeSha256, read, at + 1, 9)))
    for (let i = 0; i < CASES * 16; i++, cases += 2) {
      const at = dice.roll(9)
      const [index, size] = [dice.roll(4) === 0 ? dice.roll(12) : at, dice.roll(3) === 0 ? dice.roll(12) : 9]
      const path = damagePath(inclusion[at]!, dice)
      const said = verifyInclusion(nodeSha256, trail.leaves[at]!, index, size, path, root)
      const isSame = index === at && size === 9 && samePath(path, inclusion[at]!)
      // Some other sizes give a leaf a path of the same shape: it is the signed checkpoint that binds the size.
      if (said !== isSame && !(said && samePath(path, inclusion[at]!))) expect.fail(`inclusion ${index} of ${size}`)
      const older = dice.roll(4) === 0 ? dice.roll(12) : at + 1
      const grown = damagePath(consistency[at]!, dice)
      const grows = verifyConsistency(nodeSha256, older, 9, grown, rootOf9[at]!, root)
      if (grows !== (older === at + 1 && samePath(grown, consistency[at]!))) expect.fail(`consistency ${older}`)
    }
  })

  const rootOf9 = trail.leaves.map((_, at) => rootOf(trail, at + 1))

  it('slot proofs', () => {
    const good = formatSlotProof(head.slot)
    const dice = new Dice('slot proofs')
    for (let i = 0; i < CASES; i++, cases++) {
      const changed = damage(utf8.encode(good), dice)
      try {
        const parsed = parseSlotProof(changed)
        const isSame = loose.decode(changed) === good || parsed.index !== head.slot.index
        if (checkSlotProof(nodeSha256, parsed, head.entry) === undefined && !isSame) expect.fail(loose.decode(changed))
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    }
  })

  it('notes', async () => {
    const keys = policyKeys(POLICY)
    const { text } = parseNote(note)
    const dice = new Dice('signed notes')
    for (let i = 0; i < SIGNED_CASES; i++, cases++) {
      const changed = damage(utf8.encode(note), dice)
      try {
        const verified = await verifyNote(verifyEd25519, changed, keys)
        if (verified.verified.length + verified.cosigned.length > 0) expect(verified.text).toBe(text)
      } catch (error) {
        if (!(error instanceof NoteError)) throw error
      }
    }
  })

  it('log proofs', async () => {
    const policy = makePolicy(sha256, { logs: [], witnesses: [] })
    const under = { ...POLICY, groups: policy.groups, quorum: policy.quorum }
    const dice = new Dice('log proofs')
    const leaf = log.leaves[1]!
    for (let i = 0; i < SIGNED_CASES; i++, cases++) {
      try {
        const parsed = parseTlogProof(damage(utf8.encode(formatTlogProof(proof)), dice))
        const verdict = await verifyTlogProof(nodeSha256, verifyEd25519, parsed, leaf, under)
        if (verdict.outcome === 'held') {
          expect([parsed.index, parsed.proof]).toEqual([proof.index, proof.proof])
          expect(verdict.checkpoint.size).toBe(3)
        }
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    }
  })

  it('accusations against an honest log stay unproven, whatever is changed in them', async () => {
    const honest = [await leafAccusation(trail, trail, 6), await forkAccusation(trail, trail, 6)]
    const reaching = { kind: 'missing', receipt, head: await headOf(epochs, 2) } as const
    const dice = new Dice('accusations')
    for (const accusation of [...honest, reaching]) {
      const bytes = utf8.encode(formatAccusation(accusation))
      for (let i = 0; i < SIGNED_CASES; i++, cases++) {
        try {
          const verdict = await verifyAccusation(nodeSha256, verifyEd25519, parseAccusation(damage(bytes, dice)), [
            LOG.key,
          ])
          expect(verdict.outcome).not.toBe('proven')
        } catch (error) {
          if (!(error instanceof FormatError)) throw error
        }
      }
    }
  })

  it.runIf(long)('that was over a million cases', () => {
    expect(cases).toBeGreaterThan(1_000_000)
  })
})

function damagePath(path: readonly Uint8Array[], dice: Dice): Uint8Array[] {
  const changed = [...path]
  const at = dice.roll(changed.length + 1)
  const other = trail.leaves[dice.roll(9)]!
  const kind = dice.roll(6)
  if (kind === 0) changed.splice(at, 1)
  if (kind === 1) changed.splice(at, 0, other)
  if (kind === 2 && at < changed.length) changed[at] = changed[at]!.map((byte, i) => (i === at ? byte ^ 4 : byte))
  if (kind === 3) changed.reverse()
  if (kind === 4 && at < changed.length) changed[at] = changed[at]!.subarray(0, dice.roll(32))
  return changed
}

function samePath(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((hash, at) => equalBytes(hash, b[at]!))
}
