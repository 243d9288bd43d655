/** Golden vectors and worked examples of registry, witnesses, log proofs and accusations. */
import { createHmac, hash as nodeHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  addSignatures,
  checkSlotProof,
  decodeRegistryEntry,
  type Epoch,
  encodeRegistryEntry,
  formatAccusation,
  formatAddCheckpoint,
  formatSlotProof,
  formatTlogProof,
  fromBase64,
  fromHex,
  judgeAddCheckpoint,
  leafHash,
  makePolicy,
  parseAccusation,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  parsePolicy,
  parseSlotProof,
  parseTlogProof,
  parseVkey,
  registryOrigin,
  type Successor,
  sha256,
  slotOf,
  toBase64,
  treeRoot,
  verifyAccusation,
  verifyCheckpoint,
  verifyEd25519,
  verifySuccessor,
  verifyTlogProof,
} from '../src/index.ts'
import { makeRegistryExamples, makeRegistryVectors } from './registry-vectors.ts'

const SPEC = join(import.meta.dirname, '../../docs/spec')
const vector = (name: string) => JSON.parse(readFileSync(join(import.meta.dirname, '../vectors', name), 'utf8'))
const bytes = (text: string) => fromBase64(text)!
const utf8 = new TextEncoder()

describe('golden vectors', () => {
  it('are what the code makes today', async () => {
    for (const [name, value] of Object.entries(await makeRegistryVectors())) expect(vector(name), name).toEqual(value)
  })

  it('registry entries decode, encode, hash and give the checkpoint', () => {
    const { entries, checkpoint } = vector('registry.json')
    for (const { text, leaf } of entries) {
      expect(encodeRegistryEntry(decodeRegistryEntry(text))).toBe(text)
      expect(toBase64(leafHash(sha256, utf8.encode(text)))).toBe(leaf)
    }
    const { size, root } = parseCheckpoint(parseNote(checkpoint).text)
    const leaves = entries.slice(0, size).map(({ leaf }: { leaf: string }) => bytes(leaf))
    expect(toBase64(treeRoot(sha256, leaves))).toBe(toBase64(root))
  })

  it('slot proofs hold under their epochs, with blinds that node:crypto makes too', () => {
    const { secret, entries, slots } = vector('registry.json')
    for (const { leaf, proof } of slots) {
      const parsed = parseSlotProof(proof)
      expect(formatSlotProof(parsed)).toBe(proof)
      expect(checkSlotProof(sha256, parsed, decodeRegistryEntry(entries[parsed.index].text) as Epoch)).toBeUndefined()
      const place = Buffer.alloc(16)
      place.writeBigUInt64BE(BigInt(parsed.epoch), 0)
      place.writeBigUInt64BE(BigInt(parsed.slot), 8)
      const blind = createHmac('sha256', fromHex(secret)!).update(place).digest()
      expect(toBase64(parsed.blind)).toBe(blind.toString('base64'))
      const hashed = Buffer.concat([Buffer.of(0), blind, Buffer.from(parsed.body)])
      expect(nodeHash('sha256', hashed, 'base64')).toBe(leaf)
    }
  })

  it('log proofs hold for their leaf', async () => {
    const { leaf, vkey, plain, withExtra } = vector('tlog-proofs.json')
    const policy = makePolicy(sha256, { logs: [vkey], witnesses: vector('witness.json').vkeys })
    for (const text of [plain, withExtra]) {
      expect(formatTlogProof(parseTlogProof(text))).toBe(text)
      const verdict = await verifyTlogProof(sha256, verifyEd25519, parseTlogProof(text), bytes(leaf), policy)
      expect(verdict).toMatchObject({ outcome: 'held', cosigned: [{ name: 'w1' }, { name: 'w2' }] })
    }
    expect(new TextDecoder().decode(parseTlogProof(withExtra).extra)).toBe('entry 1')
  })

  it('accusations are proven', async () => {
    const { vkey, accusations } = vector('accusations.json')
    for (const [name, text] of Object.entries<string>(accusations)) {
      expect(formatAccusation(parseAccusation(text)), name).toBe(text)
      const verdict = await verifyAccusation(sha256, verifyEd25519, parseAccusation(text), [parseVkey(sha256, vkey)])
      expect(verdict.outcome, name).toBe('proven')
    }
  })
})

describe('worked examples', () => {
  /** The fenced blocks of a page with that label. */
  const blocks = (page: string, label: string) => {
    const text = readFileSync(join(SPEC, `${page}.md`), 'utf8')
    return [...text.matchAll(new RegExp(`^\`\`\`${label}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map((match) => match[1]!)
  }
  const block = (page: string, label: string) => blocks(page, label)[0]!
  const lines = (page: string, label: string) => block(page, label).trimEnd().split('\n')

  it('are those the script writes', async () => {
    for (const [page, text] of Object.entries(await makeRegistryExamples())) {
      const file = readFileSync(join(SPEC, `${page}.md`), 'utf8')
      expect(file.endsWith(`<!-- example: ${page} -->\n\n${text}`), page).toBe(true)
    }
  })

  it('registry.md: entry, leaf, blind, slot proof, successor', async () => {
    const [entry, leaves] = [block('registry', 'entry'), lines('registry', 'leaves')]
    expect(toBase64(leafHash(sha256, utf8.encode(entry)))).toBe(leaves[1])
    const epoch = decodeRegistryEntry(entry) as Epoch
    const proof = parseSlotProof(block('registry', 'proof'))
    expect(checkSlotProof(sha256, proof, epoch)).toBeUndefined()
    const [secret, blind, leaf] = lines('registry', 'slot') as [string, string, string]
    const place = Buffer.alloc(16)
    place.writeBigUInt64BE(BigInt(epoch.epoch), 0)
    place.writeBigUInt64BE(BigInt(slotOf(parseCheckpoint(proof.body).origin.slice(-32))), 8)
    expect(createHmac('sha256', fromHex(secret)!).update(place).digest('base64')).toBe(blind)
    const hashed = Buffer.concat([Buffer.of(0), bytes(blind), Buffer.from(proof.body)])
    expect(nodeHash('sha256', hashed, 'base64')).toBe(leaf)

    const checkpoint = parseCheckpoint(parseNote(block('witness', 'checkpoint')).text)
    expect(toBase64(treeRoot(sha256, leaves.map(bytes)))).toBe(toBase64(checkpoint.root))
    const successor = decodeRegistryEntry(block('registry', 'successor')) as Successor
    const policy = parsePolicy(sha256, block('witness', 'policy'))
    const origin = registryOrigin('log.example')
    expect(await verifySuccessor(sha256, verifyEd25519, successor, [policy.logs[0]!.key], origin)).toMatchObject({
      name: origin,
    })
  })

  it('witness.md: cosignatures, request, policy', async () => {
    const note = block('witness', 'checkpoint')
    const policy = parsePolicy(sha256, block('witness', 'policy'))
    expect(policy.witnesses.map(({ key }) => key)).toEqual(
      lines('witness', 'keys').map((key) => parseVkey(sha256, key)),
    )
    expect(await verifyCheckpoint(verifyEd25519, note, policy)).toMatchObject({ signed: true, quorum: true })
    const alone = addSignatures(`${parseNote(note).text}\n`, parseNote(note).signatures.slice(0, 2))
    expect(await verifyCheckpoint(verifyEd25519, alone, policy)).toMatchObject({ signed: true, quorum: false })
    const request = parseAddCheckpoint(block('witness', 'request'))
    expect(formatAddCheckpoint(request)).toBe(block('witness', 'request'))
    const next = parseCheckpoint(parseNote(request.checkpoint).text)
    const kept = { size: 2, root: treeRoot(sha256, lines('registry', 'leaves').slice(0, 2).map(bytes)) }
    expect(judgeAddCheckpoint(sha256, request, next, kept)).toBe(200)
  })

  it('tlog-proof.md: the proof of entry 1', async () => {
    const proof = parseTlogProof(block('tlog-proof', 'proof'))
    const policy = makePolicy(sha256, { logs: [lines('checkpoint', 'key')[1]!], witnesses: lines('witness', 'keys') })
    const verdict = await verifyTlogProof(sha256, verifyEd25519, proof, bytes(lines('tlog-proof', 'leaf')[0]!), policy)
    expect(verdict.outcome).toBe('held')
    expect(lines('tlog-proof', 'leaf')[0]).toBe(lines('tree', 'leaves')[1])
  })

  it('accusation.md: proven with the vkey of checkpoint.md', async () => {
    const key = parseVkey(sha256, lines('checkpoint', 'key')[1]!)
    const accusation = parseAccusation(block('accusation', 'accusation'))
    expect(await verifyAccusation(sha256, verifyEd25519, accusation, [key])).toMatchObject({
      outcome: 'proven',
      seq: 2,
    })
  })
})
