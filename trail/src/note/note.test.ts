import { generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { toBase64 } from '../bytes.ts'
import { contradicts, formatReceipt, parseReceipt, type Receipt, verifyReceipt } from '../proof/receipt.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { formatVkey, keyId, NoteError, type NoteSigner, parseNote, parseVkey, signNote, verifyNote } from './note.ts'

const TRAIL = '000102030405060708090a0b0c0d0e0f'
const NAME = `log.example/${TRAIL}`

function makeKey(name: string): { vkey: string; signer: NoteSigner } {
  const pair = generateKeyPairSync('ed25519')
  const publicKey = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  const signer = {
    name,
    id: keyId(sha256, name, 1, publicKey),
    sign: (m: Uint8Array) => sign(null, m, pair.privateKey),
  }
  return { vkey: formatVkey(sha256, name, publicKey), signer }
}

const log = makeKey(NAME)
const other = makeKey('witness.example/w1')
const key = parseVkey(sha256, log.vkey)
const text = formatCheckpoint(NAME, 4711, new Uint8Array(32).fill(9))

async function verdict(note: Uint8Array | string): Promise<string> {
  try {
    const { verified } = await verifyNote(verifyEd25519, note, [key])
    return verified.length === 0 ? 'unknown' : 'verified'
  } catch (error) {
    if (error instanceof NoteError) return error.code
    throw error
  }
}

describe('signed note', () => {
  it('reads the example key of the Go note package', () => {
    const vkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
    const parsed = parseVkey(sha256, vkey)
    expect([parsed.name, parsed.type]).toEqual(['PeterNeumann', 1])
    expect(formatVkey(sha256, parsed.name, parsed.publicKey)).toBe(vkey)
    expect(() => parseVkey(sha256, vkey.replace('c74f', 'c74e'))).toThrow(NoteError)
  })

  it('verifies the example note of the Go note package', async () => {
    const vkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
    const note =
      'If you think cryptography is the answer to your problem,\n' +
      "then you don't know what your problem is.\n\n" +
      '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'
    expect((await verifyNote(verifyEd25519, note, [parseVkey(sha256, vkey)])).verified).toHaveLength(1)
  })

  it('takes the signature of the key it knows and ignores the others', async () => {
    const note = await signNote(text, [other.signer, log.signer])
    expect(parseNote(note).signatures).toHaveLength(2)
    expect(await verdict(note)).toBe('verified')
    expect(await verdict(await signNote(text, [other.signer]))).toBe('unknown')
  })

  it('never verifies after a change of one byte', async () => {
    const note = new TextEncoder().encode(await signNote(text, [log.signer]))
    for (let at = 0; at < note.length; at++) {
      for (const bit of [1, 2, 0x20, 0x80]) {
        const changed = note.map((byte, i) => (i === at ? byte ^ bit : byte))
        expect(await verdict(changed), `byte ${at} bit ${bit}`).not.toBe('verified')
      }
    }
  })

  it.each([
    ['no signature', (note: string) => note.slice(0, note.indexOf('—'))],
    ['no last newline', (note: string) => note.slice(0, -1)],
    ['a carriage return', (note: string) => note.replace('\n', '\r\n')],
    ['a hyphen for the dash', (note: string) => note.replace('—', '-')],
    ['loose base64', (note: string) => note.replace(/\n$/, ' \n')],
  ])('refuses %s', async (_, change) => {
    expect(await verdict(change(await signNote(text, [log.signer])))).toBe('malformed')
  })

  it('signs no text that would not parse', async () => {
    await expect(signNote('no newline', [log.signer])).rejects.toThrow(NoteError)
    await expect(signNote('a\u0000b\n', [log.signer])).rejects.toThrow(NoteError)
  })
})

describe('checkpoint', () => {
  it('parses what it formats', () => {
    expect(parseCheckpoint(text)).toEqual({
      origin: NAME,
      size: 4711,
      root: new Uint8Array(32).fill(9),
      extensions: [],
    })
    expect(parseCheckpoint(`${text}more\n`).extensions).toEqual(['more'])
  })

  it.each([
    ['', 'nothing'],
    [text.replace('4711', '04711'), 'a leading zero'],
    [text.replace('4711', '-1'), 'a negative size'],
    [text.replace('4711', '9007199254740992'), 'a size above 2^53'],
    [text.slice(0, -1), 'no last newline'],
    [`${text}\n`, 'an empty extension'],
    [text.replace('CQ', 'C'), 'a short root'],
    [`\n${text}`, 'no origin'],
  ])('refuses %j (%s)', (broken) => {
    expect(() => parseCheckpoint(broken)).toThrow(NoteError)
  })
})

describe('receipt', () => {
  const receipt: Receipt = {
    trail: TRAIL,
    first: 10,
    last: 12,
    leaf: new Uint8Array(32).fill(5),
    sealedAt: '2026-03-10T18:33:14.123Z',
  }

  it('parses what it formats and is never a checkpoint', () => {
    expect(parseReceipt(formatReceipt(receipt))).toEqual(receipt)
    expect(() => parseCheckpoint(formatReceipt(receipt))).toThrow(NoteError)
    expect(() => parseReceipt(text)).toThrow(NoteError)
  })

  it('counts only a key of its own trail', async () => {
    const note = await signNote(formatReceipt(receipt), [log.signer])
    expect((await verifyReceipt(verifyEd25519, note, [key])).verified).toHaveLength(1)
    const foreign = await signNote(formatReceipt({ ...receipt, trail: 'f'.repeat(32) }), [log.signer])
    expect((await verifyReceipt(verifyEd25519, foreign, [key])).verified).toHaveLength(0)
  })

  it('is contradicted by another leaf and by none', () => {
    expect(contradicts(receipt, receipt.leaf)).toBe(false)
    expect(contradicts(receipt, new Uint8Array(32))).toBe(true)
    expect(contradicts(receipt, undefined)).toBe(true)
  })

  it.each([
    ['entries 10 12', 'entries 13 12'],
    ['entries 10 12', 'entries 010 12'],
    ['2026-03-10', '2026-02-30'],
    [toBase64(new Uint8Array(32).fill(5)), `${toBase64(new Uint8Array(32).fill(5)).slice(0, 43)}A`],
    ['affidavit/1', 'affidavit/2'],
  ])('refuses %s → %s', (from, to) => {
    const changed = formatReceipt(receipt).replace(from, to)
    expect(changed).not.toBe(formatReceipt(receipt))
    expect(() => parseReceipt(changed)).toThrow(NoteError)
  })
})
