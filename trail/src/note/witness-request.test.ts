import { describe, expect, it } from 'vitest'
import { cosigned, makeEpoch, REGISTRY, REGISTRY_SIGNER, SampleLog, WITNESSES } from '../../test/sample-registry.ts'
import { makeTrail, OPEN } from '../../test/sample-trail.ts'
import { FormatError } from '../format-error.ts'
import { emptyRoot } from '../tree/tree.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { parseNote, signNote } from './note.ts'
import {
  formatAddCheckpoint,
  formatTreeSize,
  judgeAddCheckpoint,
  parseAddCheckpoint,
  parseTreeSize,
  takeCosignatures,
} from './witness-request.ts'

const trail = makeTrail([{ control: OPEN }, {}, {}])
const entries = Array.from({ length: 7 }, (_, at) => makeEpoch(at, at, trail, 3).entry)
const log = new SampleLog(entries)
const good = formatAddCheckpoint({ old: 3, proof: await log.consistency(3), checkpoint: await log.note() })
const head = (size: number) => ({ size, root: log.root(size) })

describe('add-checkpoint', () => {
  it('parses what it formats', async () => {
    for (const old of [0, 3, 6, 7]) {
      const request = { old, proof: old === 0 ? [] : await log.consistency(old), checkpoint: await log.note() }
      expect(parseAddCheckpoint(formatAddCheckpoint(request))).toEqual(request)
      expect(parseAddCheckpoint(new TextEncoder().encode(formatAddCheckpoint(request)))).toEqual(request)
    }
  })

  it('takes 63 hashes and no more', async () => {
    const request = (count: number) => ({ old: 1, proof: Array(count).fill(new Uint8Array(32)) })
    const checkpoint = await log.note()
    expect(parseAddCheckpoint(formatAddCheckpoint({ ...request(63), checkpoint })).proof).toHaveLength(63)
    expect(() => parseAddCheckpoint(formatAddCheckpoint({ ...request(64), checkpoint }))).toThrow(FormatError)
  })

  it.each<[string, string]>([
    ['nothing', ''],
    ['no old line', good.slice(6)],
    ['a leading zero', good.replace('old 3', 'old 03')],
    ['a negative size', good.replace('old 3', 'old -3')],
    ['a size above 2^53', good.replace('old 3', 'old 9007199254740993')],
    ['two spaces', good.replace('old 3', 'old  3')],
    ['a short hash', good.replace(/=\n/, '\n')],
    ['a hash with loose bits', good.replace(/(.)=\n/, (_, last) => `${last === 'B' ? 'F' : 'B'}=\n`)],
    ['no empty line', good.replace('\n\n', '\n')],
    ['two empty lines', good.replace('\n\n', '\n\n\n')],
    ['no checkpoint', good.slice(0, good.indexOf('\n\n') + 2)],
    ['no signature', good.slice(0, good.indexOf('—'))],
    ['carriage returns', good.replaceAll('\n', '\r\n')],
    ['no last newline', good.slice(0, -1)],
    ['something behind', `${good}x\n`],
  ])('refuses %s', (_, text) => {
    expect(text).not.toBe(good)
    expect(() => parseAddCheckpoint(text)).toThrow(FormatError)
  })

  it('refuses what is no UTF-8, and what is too large', () => {
    expect(() => parseAddCheckpoint(Uint8Array.of(0xff, 0x0a))).toThrow(FormatError)
    expect(() => parseAddCheckpoint(new Uint8Array(1_010_001))).toThrow(expect.objectContaining({ code: 'too_large' }))
  })
})

describe('what a witness answers', () => {
  const judge = (old: number, proof: Uint8Array[], next: { size: number; root: Uint8Array }, kept?: typeof next) =>
    judgeAddCheckpoint(sha256, { old, proof }, next, kept)

  it('200 for what has only grown', async () => {
    expect(judge(0, [], head(5))).toBe(200)
    expect(judge(5, await log.consistency(5), head(7), head(5))).toBe(200)
    expect(judge(7, [], head(7), head(7))).toBe(200)
    expect(judge(0, [], { size: 0, root: emptyRoot(sha256) })).toBe(200)
    expect(judge(0, [], head(3), { size: 0, root: emptyRoot(sha256) })).toBe(200)
  })

  it('400 for an old size above the new one', () => {
    expect(judge(6, [], head(5), head(6))).toBe(400)
  })

  it('409 for another old size than it keeps, before it looks at the proof', async () => {
    expect(judge(3, await log.consistency(3), head(7), head(5))).toBe(409)
    expect(judge(3, [], head(7))).toBe(409)
    expect(judge(0, [], head(7), head(5))).toBe(409)
  })

  it('422 for what is inconsistent', async () => {
    expect(judge(5, await log.consistency(4), head(7), head(5))).toBe(422)
    expect(judge(5, await log.consistency(5), { size: 7, root: log.root(6) }, head(5))).toBe(422)
    expect(judge(5, await log.consistency(5), head(7), { size: 5, root: log.root(4) })).toBe(422)
    expect(judge(5, [], { size: 5, root: log.root(4) }, head(5))).toBe(422)
    expect(judge(5, [log.root(1)], head(5), head(5))).toBe(422)
    expect(judge(0, [log.root(1)], head(5))).toBe(422)
    expect(judge(0, [], { size: 0, root: log.root(1) })).toBe(422)
  })
})

describe("a witness's answer", () => {
  it('tells the size as a line', () => {
    expect(parseTreeSize(formatTreeSize(20_852_014))).toBe(20_852_014)
    for (const bad of ['', '1', '01\n', '1\n\n', '-1\n', '1 \n', '9007199254740993\n'])
      expect(parseTreeSize(bad), JSON.stringify(bad)).toBeUndefined()
  })

  it('gives the lines of known keys only', async () => {
    const note = await log.note()
    const { text } = parseNote(note)
    const reply = (await cosigned(note)).slice(note.length)
    const [first, second] = WITNESSES
    const both = await takeCosignatures(verifyEd25519, text, reply, [first!.key, second!.key])
    expect(both.cosigned).toHaveLength(2)
    const one = await takeCosignatures(verifyEd25519, text, reply, [second!.key])
    expect(one.signatures.map(({ name }) => name)).toEqual([second!.key.name])
    expect((await takeCosignatures(verifyEd25519, text, reply, [])).signatures).toEqual([])
  })

  it('that is wrong or malformed is refused', async () => {
    const note = await log.note()
    const other = await signNote(formatCheckpoint(REGISTRY, 6, log.root(6)), [REGISTRY_SIGNER])
    expect(parseCheckpoint(parseNote(other).text).size).toBe(6)
    const reply = (await cosigned(other)).slice(other.length)
    const take = (text: string) =>
      takeCosignatures(
        verifyEd25519,
        parseNote(note).text,
        text,
        WITNESSES.map(({ key }) => key),
      )
    await expect(take(reply)).rejects.toMatchObject({ code: 'bad_signature' })
    await expect(take('no\n')).rejects.toMatchObject({ code: 'malformed' })
    await expect(take('')).rejects.toMatchObject({ code: 'malformed' })
  })
})
