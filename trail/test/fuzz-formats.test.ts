/**
 * Hostile input to the parsers of notes, proofs, tiles, packs, slot proofs, policies, requests and accusations: whatever
 * comes, the answer is a value or the parser's own error; what is accepted is the only spelling of itself; and a
 * document that verified never verifies after a change that means something else. AFFIDAVIT_LONG=1 makes over a million
 * cases.
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
  PackError,
  PackReader,
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
  verifyPack,
  verifyTlogProof,
  writePack,
} from '../src/index.ts'
import { casesMade, type Dice, damage, many, manyAsync } from './damage.ts'
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
import {
  collect,
  fileOf,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  readNode,
  rootOf,
  seededKey,
  sourceOf,
} from './sample-trail.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
/** Cases per document; checking the proofs themselves is cheaper and gets more. */
const CASES = long ? 19_000 : 300
/** Cases that check signatures or whole packs, which take a tenth of a millisecond each, or more. */
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
  let accepted = 0
  many(CASES, (dice) => {
    const changed = damage(bytes, dice)
    let value: T
    try {
      value = read(changed)
    } catch (error) {
      if (!errors.some((kind) => error instanceof kind)) throw error
      return
    }
    accepted++
    if (write === undefined) return
    const again = write(value)
    const same = equalBytes(typeof again === 'string' ? utf8.encode(again) : again, changed)
    if (!same) expect.fail(`${name}: accepted a second spelling: ${JSON.stringify(loose.decode(changed))}`)
  })
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
    many(CASES, (dice) => {
      let policy: TrustPolicy
      try {
        policy = read(damage(utf8.encode(policyText), dice))
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
        return
      }
      const keys = policy.witnesses.map(({ key }) => key)
      if (new Set(keys.map(({ publicKey }) => publicKey.join())).size < keys.length) expect.fail('a key twice')
      if (!meetsQuorum(policy, keys)) expect.fail('all together are no quorum')
      if (policy.quorum !== 'none' && meetsQuorum(policy, [])) expect.fail('nobody is a quorum')
    })
  })
})

describe('what verified does not verify once it says something else', () => {
  const read = readNode(trail)
  const root = rootOf(trail)

  it('inclusion proofs', async () => {
    const proofs = await Promise.all(trail.leaves.map((_, at) => proveInclusion(nodeSha256, read, at, 9)))
    many(CASES * 16, (dice) => {
      const at = dice.roll(9)
      const [index, size] = [dice.roll(4) === 0 ? dice.roll(12) : at, dice.roll(3) === 0 ? dice.roll(12) : 9]
      const path = damagePath(proofs[at]!, dice)
      const held = verifyInclusion(nodeSha256, trail.leaves[at]!, index, size, path, root)
      const isWhole = samePath(path, proofs[at]!)
      // Under some other sizes the same path leads to the same root: it is the signed checkpoint that binds the size.
      if (held && !(isWhole && (index === at || size !== 9))) expect.fail(`inclusion ${index} of ${size}`)
      if (!held && isWhole && index === at && size === 9) expect.fail(`no inclusion ${index}`)
    })
  })

  it('consistency proofs', async () => {
    const roots = trail.leaves.map((_, at) => rootOf(trail, at + 1))
    const proofs = await Promise.all(trail.leaves.map((_, at) => proveConsistency(nodeSha256, read, at + 1, 9)))
    many(CASES * 16, (dice) => {
      const at = dice.roll(9)
      const older = dice.roll(4) === 0 ? dice.roll(12) : at + 1
      const path = damagePath(proofs[at]!, dice)
      const held = verifyConsistency(nodeSha256, older, 9, path, roots[at]!, root)
      if (held !== (older === at + 1 && samePath(path, proofs[at]!))) expect.fail(`consistency ${older}`)
    })
  })

  it('slot proofs', () => {
    const good = formatSlotProof(head.slot)
    many(CASES, (dice) => {
      const changed = damage(utf8.encode(good), dice)
      try {
        const parsed = parseSlotProof(changed)
        // The index is not bound here: whoever proves the entry in the registry log does that.
        const isSame = formatSlotProof({ ...parsed, index: head.slot.index }) === good
        if (checkSlotProof(nodeSha256, parsed, head.entry) === undefined && !isSame) expect.fail(loose.decode(changed))
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    })
  })

  it('notes', async () => {
    const keys = policyKeys(POLICY)
    const { text } = parseNote(note)
    await manyAsync(SIGNED_CASES, async (dice) => {
      const changed = damage(utf8.encode(note), dice)
      try {
        const verified = await verifyNote(verifyEd25519, changed, keys)
        if (verified.verified.length + verified.cosigned.length > 0) expect(verified.text).toBe(text)
      } catch (error) {
        if (!(error instanceof NoteError)) throw error
      }
    })
  })

  it('log proofs', async () => {
    const policy = makePolicy(sha256, { logs: [], witnesses: [] })
    const under = { ...POLICY, groups: policy.groups, quorum: policy.quorum }
    const leaf = log.leaves[1]!
    await manyAsync(SIGNED_CASES, async (dice) => {
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
    })
  })

  it('packs: their container, and all that is in it', async () => {
    const manifest = manifestOf(trail)
    const good = await collect(writePack(nodeSha256, manifest, await sourceOf(trail, manifest)))
    let opened = 0
    await manyAsync(SIGNED_CASES, async (dice) => {
      const changed = damage(good, dice)
      if (equalBytes(changed, good)) return
      try {
        const pack = await PackReader.open(nodeSha256, fileOf(changed))
        opened++
        const { outcome } = await verifyPack(pack, { hash: nodeSha256, verify: verifyEd25519 })
        if (outcome === 'held') expect.fail(`held: ${Buffer.from(changed).toString('base64')}`)
      } catch (error) {
        if (!(error instanceof PackError)) throw error
      }
    })
    expect(opened).toBeGreaterThan(0)
  })

  it('accusations against an honest log stay unproven, whatever is changed in them', async () => {
    const honest = [await leafAccusation(trail, trail, 6), await forkAccusation(trail, trail, 6)]
    const reaching = { kind: 'missing', receipt, head: await headOf(epochs, 2) } as const
    for (const accusation of [...honest, reaching]) {
      const bytes = utf8.encode(formatAccusation(accusation))
      await manyAsync(SIGNED_CASES, async (dice) => {
        try {
          const verdict = await verifyAccusation(nodeSha256, verifyEd25519, parseAccusation(damage(bytes, dice)), [
            LOG.key,
          ])
          expect(verdict.outcome).not.toBe('proven')
        } catch (error) {
          if (!(error instanceof FormatError)) throw error
        }
      })
    }
  })

  it.runIf(long)('that was over a million cases', () => {
    expect(casesMade()).toBeGreaterThan(1_000_000)
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
