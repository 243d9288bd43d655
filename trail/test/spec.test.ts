/** The golden vectors, the worked examples of docs/spec and the Python checker written from it. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  CompactRange,
  commitText,
  contradicts,
  decodeContent,
  decodeEntry,
  encodeEntry,
  encodeManifest,
  fromBase64,
  fromHex,
  hmacKey,
  leafHash,
  type Manifest,
  PackReader,
  parseCheckpoint,
  parseVkey,
  personalSalt,
  sha256,
  toBase64,
  verifyConsistency,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  verifyPack,
  verifyReceipt,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { ascii, collect, fileOf, makeTrail, manifestOf, OPEN, type SampleTrail, sourceOf } from './sample-trail.ts'
import { makeExamples, makeVectors } from './vectors.ts'

const run = promisify(execFile)
const SPEC = join(import.meta.dirname, '../../docs/spec')
const vector = (name: string) => JSON.parse(readFileSync(join(import.meta.dirname, '../vectors', name), 'utf8'))
const bytes = (text: string) => fromBase64(text)!

describe('golden vectors', () => {
  it('are what the code makes today', async () => {
    for (const [name, value] of Object.entries(await makeVectors())) expect(vector(name), name).toEqual(value)
  })

  it('entries of every kind decode, encode and hash', () => {
    for (const { entry, text, leaf } of vector('entries.json')) {
      expect(decodeEntry(ascii.encode(text))).toEqual(entry)
      expect(encodeEntry(entry)).toBe(text)
      expect(toBase64(leafHash(sha256, ascii.encode(text)))).toBe(leaf)
    }
  })

  it('commitments and salts', () => {
    for (const { payload, entry } of vector('commitments.json')) {
      const [given, made] = [decodeContent(payload), decodeEntry(ascii.encode(entry))]
      const kind = 'event' in made.body ? 'facts' : 'control'
      expect(commitText(sha256, kind, bytes(given.facts!.salt), given.facts!.content)).toBe(made.facts)
      for (const part of ['confidential', 'operator'] as const) {
        const own = given[part]
        expect(own && commitText(sha256, part, bytes(own.salt), own.content)).toBe(made[part])
      }
      const personal = (given.personal ?? []).map((p) => commitText(sha256, 'personal', bytes(p.salt), p.content))
      expect(personal).toEqual(made.personal.map((line) => line.commitment))
    }
    for (const { saltKey, factsSalt, line, salt } of vector('salts.json')) {
      expect(toBase64(personalSalt(sha256, hmacKey(sha256, fromHex(saltKey)!), bytes(factsSalt), line))).toBe(salt)
    }
  })

  it('roots and proofs', () => {
    const { leaves, roots, inclusion, consistency } = vector('tree.json')
    const range = new CompactRange(sha256)
    for (const [at, leaf] of leaves.entries()) {
      range.append(bytes(leaf))
      expect(toBase64(range.root())).toBe(roots[at])
    }
    for (const { index, size, proof } of inclusion) {
      const root = bytes(roots[size - 1])
      expect(verifyInclusion(sha256, bytes(leaves[index]), index, size, proof.map(bytes), root)).toBe(true)
    }
    for (const { older, newer, proof } of consistency) {
      const [from, to] = [bytes(roots[older - 1]), bytes(roots[newer - 1])]
      expect(verifyConsistency(sha256, older, newer, proof.map(bytes), from, to)).toBe(true)
    }
  })

  it('the pack, though another zlib may deflate it otherwise', async () => {
    const { pack, manifest } = vector('pack.json')
    const reader = await PackReader.open(sha256, fileOf(bytes(pack)))
    expect(encodeManifest(reader.manifest)).toBe(manifest)
    const options = { hash: sha256, verify: verifyEd25519, vkeys: [parseVkey(sha256, vector('notes.json').vkey)] }
    expect(await verifyPack(reader, options)).toMatchObject({ outcome: 'held', assurance: 'anchored' })
  })
})

describe('worked examples', () => {
  /** The fenced blocks of a page with that label. */
  const blocks = (page: string, label: string) => {
    const text = readFileSync(join(SPEC, `${page}.md`), 'utf8')
    return [...text.matchAll(new RegExp(`^\`\`\`${label}\\n([^]*?)^\`\`\`$`, 'gm'))].map((match) => match[1]!)
  }
  const lines = (page: string, label: string) => blocks(page, label)[0]!.trimEnd().split('\n')

  it('are those the script writes', async () => {
    for (const [page, text] of Object.entries(await makeExamples())) {
      expect(
        readFileSync(join(SPEC, `${page}.md`), 'utf8').endsWith(`<!-- example: ${page} -->\n\n${text}`),
        page,
      ).toBe(true)
    }
  })

  it('entry.md: leaf hashes and chain', () => {
    const entries = blocks('entry', 'entry')
    expect(entries.map((text) => toBase64(leafHash(sha256, ascii.encode(text))))).toEqual(lines('entry', 'leaves'))
    expect(decodeEntry(ascii.encode(entries[1]!)).previous).toBe(lines('entry', 'leaves')[0])
  })

  it('commitment.md: facts and personal', () => {
    const entry = decodeEntry(ascii.encode(blocks('entry', 'entry')[1]!))
    const [factsSalt, facts, factsCommitment] = lines('commitment', 'facts') as [string, string, string]
    expect(commitText(sha256, 'facts', bytes(factsSalt), facts)).toBe(factsCommitment)
    expect(entry.facts).toBe(factsCommitment)
    const [key, salt, persona, commitment] = lines('commitment', 'personal') as [string, string, string, string]
    expect(toBase64(personalSalt(sha256, hmacKey(sha256, fromHex(key)!), bytes(factsSalt), 0))).toBe(salt)
    expect(commitText(sha256, 'personal', bytes(salt), persona)).toBe(commitment)
    expect(entry.personal[0]!.commitment).toBe(commitment)
  })

  it('tree.md and checkpoint.md: roots, checkpoint, receipt', async () => {
    const range = new CompactRange(sha256)
    const roots = lines('tree', 'leaves').map((leaf) => {
      range.append(bytes(leaf))
      return toBase64(range.root())
    })
    expect(roots).toEqual(lines('tree', 'roots'))
    const key = parseVkey(sha256, lines('checkpoint', 'key')[1]!)
    const note = await verifyNote(verifyEd25519, blocks('checkpoint', 'checkpoint')[0]!, [key])
    expect(note.verified).toHaveLength(1)
    expect(toBase64(parseCheckpoint(note.text).root)).toBe(roots[3])
    const { receipt, verified } = await verifyReceipt(verifyEd25519, blocks('checkpoint', 'receipt')[0]!, [key])
    expect(verified).toHaveLength(1)
    expect(contradicts(receipt, bytes(lines('tree', 'leaves')[receipt.last]!))).toBe(false)
  })
})

const python = await run('python3', ['--version']).then(
  () => true,
  () => false,
)
if (!python) console.warn('python3 is not installed: the Python checker of docs/spec is not tested here')

describe.skipIf(!python)('check.py (skipped without python3)', () => {
  const trail = makeTrail(Array.from({ length: 700 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'affidavit-check-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  async function check(made: SampleTrail, changes: Partial<Manifest> = {}): Promise<string> {
    const manifest = manifestOf(made, { size: 700, ...changes })
    const path = join(folder, 'a.pack')
    writeFileSync(path, await collect(writePack(nodeSha256, manifest, await sourceOf(made, manifest))))
    return run('python3', [join(SPEC, 'check.py'), path]).then(
      ({ stdout }) => stdout,
      (error: { stderr: string }) => error.stderr,
    )
  }

  it('has at most 80 lines', () => {
    expect(readFileSync(join(SPEC, 'check.py'), 'utf8').split('\n').length - 1).toBeLessThanOrEqual(80)
  })

  it('holds a pack of the whole and of a part', async () => {
    expect(await check(trail)).toMatch(/^held: 700 entries/)
    expect(await check(trail, { ranges: [{ from: 300, to: 400 }] })).toMatch(/^held: 256 entries/)
    expect(
      await check(trail, {
        ranges: [
          { from: 3, to: 4 },
          { from: 600, to: 601 },
        ],
      }),
    ).toMatch(/^held: 444 entries/)
  })

  it('names what is wrong', async () => {
    const text = (seq: number) => new TextDecoder().decode(trail.bytes[seq])
    const edited = ascii.encode(text(300).replace(/facts .*/, `facts ${trail.entries[1]!.facts}`))
    expect(await check({ ...trail, bytes: trail.bytes.with(300, edited) })).toMatch(/entry 301: wrong previous hash/)
    const last = ascii.encode(text(699).replace(/facts .*/, `facts ${trail.entries[1]!.facts}`))
    expect(await check({ ...trail, bytes: trail.bytes.with(699, last) })).toMatch(/do not give the root/)
    const swapped = trail.bytes.with(5, trail.bytes[6]!).with(6, trail.bytes[5]!)
    expect(await check({ ...trail, bytes: swapped })).toMatch(/entry 5: wrong version, trail or seq/)
    const facts = { ...trail.payloads[9]!, facts: { ...trail.payloads[9]!.facts!, content: '{}' } }
    expect(await check({ ...trail, payloads: trail.payloads.with(9, facts) })).toMatch(/entry 9: facts/)
    // Only the tile over the bundle is wrong: the part's own entries and the root cannot both be right.
    const lastOfPart = ascii.encode(text(511).replace(/facts .*/, `facts ${trail.entries[1]!.facts}`))
    const part = { ranges: [{ from: 300, to: 400 }] }
    expect(await check({ ...trail, bytes: trail.bytes.with(511, lastOfPart) }, part)).toMatch(/do not give the root/)
  })
})
