import { describe, expect, it } from 'vitest'
import { cosigned, seededWitness, WITNESSES } from '../../test/sample-registry.ts'
import { LOG, makeTrail, OPEN, seededKey, signedCheckpoint } from '../../test/sample-trail.ts'
import { concatBytes, fromBase64 } from '../bytes.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import { cosignatureMessage, openCosignature } from './cosignature.ts'
import {
  addSignatures,
  COSIGNATURE,
  ED25519,
  formatVkey,
  type NoteError,
  parseNote,
  parseSignatures,
  parseVkey,
  signNote,
  type VerifierKey,
  verifyNote,
  vkeyUnder,
} from './note.ts'
import { cosign } from './witness-request.ts'

const trail = makeTrail([{ control: OPEN }, {}])
const note = await signedCheckpoint(trail)
const [first, second] = WITNESSES as [(typeof WITNESSES)[0], (typeof WITNESSES)[0]]
const code = (whole: string, keys: readonly VerifierKey[]) =>
  verifyNote(verifyEd25519, whole, keys).then(
    () => 'verified',
    (error: NoteError) => error.code,
  )

describe('cosignature', () => {
  it('signs the message of the specification', () => {
    const body = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
    expect(new TextDecoder().decode(cosignatureMessage(1679315147, body))).toBe(
      `cosignature/v1\ntime 1679315147\n${body}`,
    )
  })

  it("reads the time of the specification's example", () => {
    const blob = fromBase64(
      'jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==',
    )!
    expect(openCosignature(blob.slice(4))?.time).toBe(1679315147)
  })

  it('counts beside the signature of the log, with its time, and never as signer', async () => {
    const { verified, cosigned: by } = await verifyNote(verifyEd25519, await cosigned(note, WITNESSES, 1234), [
      LOG.key,
      first.key,
      second.key,
    ])
    expect(verified).toEqual([LOG.key])
    expect(by).toEqual([
      { key: first.key, time: 1234 },
      { key: second.key, time: 1234 },
    ])
    expect((await verifyNote(verifyEd25519, await cosigned(note), [first.key])).verified).toEqual([])
  })

  it('is counted once, with its newest time', async () => {
    const twice = await cosigned(await cosigned(note, [first], 300), [first], 200)
    expect((await verifyNote(verifyEd25519, twice, [first.key])).cosigned).toEqual([{ key: first.key, time: 300 }])
  })

  it('of an unknown key is ignored, of a known one must be right', async () => {
    const whole = await cosigned(note, [first])
    expect((await verifyNote(verifyEd25519, whole, [LOG.key, second.key])).cosigned).toEqual([])
    // Another text under the same signature lines.
    const moved = `${parseNote(await signedCheckpoint(trail, 1)).text}${whole.slice(parseNote(whole).text.length)}`
    expect(await code(moved, [first.key])).toBe('bad_signature')
    expect(await code(whole, [{ ...second.key, name: first.key.name, id: first.key.id }])).toBe('bad_signature')
  })

  it('is refused when cut, grown, re-dated, or a plain signature', async () => {
    const { text, signatures } = parseNote(await cosigned(note, [first], 1234))
    const { name, id, signature } = signatures[1]!
    const whole = (changed: Uint8Array) => addSignatures(note, [{ name, id, signature: changed }])
    expect(await code(whole(signature), [first.key])).toBe('verified')
    expect(await code(whole(signature.slice(0, -1)), [first.key])).toBe('bad_signature')
    expect(await code(whole(concatBytes([signature, Uint8Array.of(0)])), [first.key])).toBe('bad_signature')
    expect(await code(whole(signature.map((byte, at) => (at === 7 ? byte ^ 1 : byte))), [first.key])).toBe(
      'bad_signature',
    )
    expect(await code(whole(signature.map((byte, at) => (at === 0 ? 0x7f : byte))), [first.key])).toBe('bad_signature')
    const plain = await first.signer.sign(new TextEncoder().encode(text))
    expect(await code(whole(concatBytes([new Uint8Array(8), plain])), [first.key])).toBe('bad_signature')
  })

  it.each([0, -1, 1.5, 2 ** 53])('is not given at %d', async (time) => {
    await expect(cosign('a\n', first.signer, time)).rejects.toThrow(RangeError)
  })

  it('of a time after the year 9999 is refused though it is right', async () => {
    const { text } = parseNote(note)
    const at = async (time: number) => code(addSignatures(note, [await cosign(text, first.signer, time)]), [first.key])
    expect(await at(253_402_300_799)).toBe('verified')
    expect(await at(253_402_300_800)).toBe('bad_signature')
  })

  it('one key in two roles has two ids', () => {
    const { key } = seededKey('witness.example/w1', 'witness key')
    expect(first.vkey).toBe(formatVkey(sha256, key.name, key.publicKey, COSIGNATURE))
    expect(parseVkey(sha256, first.vkey)).toEqual(first.key)
    expect([key.type, first.key.type]).toEqual([ED25519, COSIGNATURE])
    expect(key.id).not.toEqual(first.key.id)
    expect(() => formatVkey(sha256, 'a', new Uint8Array(31), COSIGNATURE)).toThrow()
  })

  it('16 and 100 signatures are accepted, 101 are not', async () => {
    const many = Array.from({ length: 99 }, (_, at) => seededWitness(`witness.example/${at}`))
    const keys = [LOG.key, ...many.map(({ key }) => key)]
    expect((await verifyNote(verifyEd25519, await cosigned(note, many.slice(0, 15)), keys)).cosigned).toHaveLength(15)
    const hundred = await cosigned(note, many)
    expect((await verifyNote(verifyEd25519, hundred, keys)).cosigned).toHaveLength(99)
    expect(await code(await cosigned(hundred, [second]), keys)).toBe('malformed')
  })

  it('a post-quantum signature of 2,420 bytes is carried and ignored', async () => {
    const signature = new Uint8Array(8 + 2420)
    const whole = addSignatures(note, [{ name: 'pq.example', id: Uint8Array.of(1, 2, 3, 4), signature }])
    expect((await verifyNote(verifyEd25519, whole, [LOG.key])).verified).toEqual([LOG.key])
  })
})

describe('signature lines', () => {
  it('are added once', async () => {
    const line = await cosign(parseNote(note).text, first.signer, 77)
    const once = addSignatures(note, [line, line])
    expect(parseNote(once).signatures).toHaveLength(2)
    expect(addSignatures(once, [line])).toBe(once)
    expect(parseSignatures(once.slice(note.length))).toEqual([line])
  })

  it('alone are strict', () => {
    for (const bad of ['', '\n', 'x\n', '— a AAAA\n', '— a AAAAAAAA', '— a AAAAAAAA\n\n'])
      expect(() => parseSignatures(bad), JSON.stringify(bad)).toThrow()
  })
})

it('a key under another name signs for that name only', async () => {
  const other = vkeyUnder(sha256, LOG.key, 'log.example/registry')
  expect(formatVkey(sha256, other.name, other.publicKey)).toContain('log.example/registry+')
  expect((await verifyNote(verifyEd25519, note, [other])).verified).toEqual([])
  const signed = await signNote('text\n', [{ name: other.name, id: other.id, sign: LOG.signer.sign }])
  expect((await verifyNote(verifyEd25519, signed, [other, LOG.key])).verified).toEqual([other])
})
