import { describe, expect, it } from 'vitest'
import { makeSuccessor, REGISTRY, REGISTRY_KEY, REGISTRY_SIGNER, REGISTRY_VKEY } from '../../test/sample-registry.ts'
import { LOG, ORIGIN, SLOT, sampleTime, seeded, seededKey, TRAIL } from '../../test/sample-trail.ts'
import { toBase64 } from '../bytes.ts'
import { EntryError } from '../entry/entry-error.ts'
import { keyId, type NoteSigner, vkeyUnder } from '../note/note.ts'
import { sha256, verifyEd25519 } from '../web.ts'
import {
  decodeRegistryEntry,
  type Epoch,
  encodeRegistryEntry,
  isLastOfDay,
  logOfRegistry,
  type RegistryEntry,
  registryOrigin,
  slotOf,
  verifySuccessor,
} from './registry.ts'

const EPOCH: Epoch = { kind: 'epoch', epoch: 4711, time: sampleTime(0), depth: 17, slots: seeded('slots', 32) }
const NEXT = seededKey(REGISTRY, 'successor')
const successor = await makeSuccessor(NEXT.vkey)
const CONTINUES: RegistryEntry = {
  kind: 'continues',
  origin: 'log.example/registry',
  size: 12,
  root: seeded('root', 32),
}

describe('registry entries', () => {
  it('have one form each', () => {
    expect(encodeRegistryEntry(EPOCH)).toBe(
      `affidavit/1 registry\nepoch 4711\ntime 2026-03-10T18:33:14.123Z\ndepth 17\nslots ${toBase64(EPOCH.slots)}\n`,
    )
    expect(encodeRegistryEntry(CONTINUES)).toMatch(
      /^affidavit\/1 registry\ncontinues log\.example\/registry 12 \S{44}\n$/,
    )
    expect(encodeRegistryEntry(successor)).toMatch(
      /^affidavit\/1 registry\nkey log\.example\/registry\+[^\n]+\n\n— log\.example\/registry [^\n]+\n$/,
    )
  })

  it('decode to what was encoded, from text and bytes', () => {
    for (const entry of [EPOCH, successor, CONTINUES, { ...EPOCH, epoch: 0, depth: 8 }, { ...EPOCH, depth: 32 }]) {
      const text = encodeRegistryEntry(entry)
      expect(decodeRegistryEntry(text)).toEqual(entry)
      expect(decodeRegistryEntry(new TextEncoder().encode(text))).toEqual(entry)
    }
  })

  const good = encodeRegistryEntry(EPOCH)
  it.each<[string, string, EntryError['code']]>([
    ['nothing', '', 'malformed'],
    ['another version', good.replace('/1', '/2'), 'unknown_version'],
    ['another kind', good.replace('epoch', 'era'), 'unknown_kind'],
    ['another file', good.replace('registry', 'slot'), 'malformed'],
    ['a leading zero', good.replace('4711', '04711'), 'malformed'],
    ['eleven digits', good.replace('4711', '10000000000'), 'malformed'],
    ['a time that is none', good.replace('-10T', '-32T'), 'malformed'],
    ['a depth of 7', good.replace('depth 17', 'depth 7'), 'malformed'],
    ['a depth of 33', good.replace('depth 17', 'depth 33'), 'malformed'],
    ['loose base64', good.replace(/.=\n$/, 'B=\n'), 'malformed'],
    ['no last newline', good.slice(0, -1), 'malformed'],
    ['another line', `${good}x\n`, 'malformed'],
    ['an empty line', `${good}\n`, 'malformed'],
    ['a carriage return', good.replaceAll('\n', '\r\n'), 'malformed'],
    ['a space too many', good.replace('epoch ', 'epoch  '), 'malformed'],
    ['too much', good + 'x'.repeat(16_384), 'too_long'],
    ['a successor without signature', encodeRegistryEntry({ ...successor, signatures: [] }), 'malformed'],
    ['a successor that is no key', encodeRegistryEntry({ ...successor, vkey: 'x' }), 'malformed'],
    ['a continuation of nothing', 'affidavit/1 registry\ncontinues \n', 'malformed'],
  ])('refuses %s', (_, text, code) => {
    expect(() => decodeRegistryEntry(text)).toThrow(expect.objectContaining({ name: 'EntryError', code }))
  })

  it('refuses bytes that are no UTF-8', () => {
    expect(() => decodeRegistryEntry(Uint8Array.of(0xff))).toThrow(EntryError)
  })

  it('too long a one is not written', () => {
    expect(() => encodeRegistryEntry({ ...successor, vkey: 'x'.repeat(16_384) })).toThrow(EntryError)
  })
})

describe('successor', () => {
  const check = (entry: typeof successor, keys = [REGISTRY_KEY]) =>
    verifySuccessor(sha256, verifyEd25519, entry, keys, REGISTRY)

  it('is believed when the key before it signed', async () => {
    expect(await check(successor)).toEqual(NEXT.key)
  })

  it('is believed when the recovery key signed, under the name of the registry', async () => {
    const recovery = seededKey('recovery')
    const id = keyId(sha256, REGISTRY, 1, recovery.key.publicKey)
    const signer: NoteSigner = { name: REGISTRY, id, sign: recovery.signer.sign }
    const entry = await makeSuccessor(NEXT.vkey, signer)
    expect(await check(entry)).toBeUndefined()
    expect(await check(entry, [vkeyUnder(sha256, recovery.key, REGISTRY)])).toEqual(NEXT.key)
  })

  it('is not believed when it names itself, another origin, or another key than was signed', async () => {
    expect(await check(await makeSuccessor(NEXT.vkey, NEXT.signer))).toBeUndefined()
    expect(await check(await makeSuccessor(seededKey('log.example/registry.1').vkey))).toBeUndefined()
    expect(await check({ ...successor, vkey: REGISTRY_VKEY })).toBeUndefined()
    expect(await check({ ...successor, vkey: 'no key' })).toBeUndefined()
    expect(await check(await makeSuccessor(NEXT.vkey, LOG.signer), [LOG.key])).toBeUndefined()
    expect(
      await check({ ...successor, signatures: [{ ...successor.signatures[0]!, signature: seeded('x', 32) }] }),
    ).toBe(undefined)
    expect(await check(await makeSuccessor(NEXT.vkey, { ...REGISTRY_SIGNER, name: 'other' }))).toBeUndefined()
  })
})

describe('slots and days', () => {
  it('a trail id begins with its slot', () => {
    expect(slotOf(TRAIL)).toBe(SLOT)
    expect(slotOf(ORIGIN.slice(-32))).toBe(SLOT)
    expect(slotOf(`ffffffff${'0'.repeat(24)}`)).toBe(2 ** 32 - 1)
    expect(() => slotOf(ORIGIN)).toThrow(RangeError)
    expect(() => slotOf(TRAIL.toUpperCase())).toThrow(RangeError)
  })

  it('an audit epoch is the last of its UTC day', () => {
    expect(isLastOfDay('2026-03-10T23:59:59.999Z', '2026-03-11T00:00:00.000Z')).toBe(true)
    expect(isLastOfDay('2026-03-10T23:58:00.000Z', '2026-03-10T23:59:00.000Z')).toBe(false)
    expect(isLastOfDay('2026-12-31T23:59:00.000Z', '2027-02-01T00:00:00.000Z')).toBe(true)
  })

  it('a registry in the place of a lost one has a name of its own', () => {
    const origins = [registryOrigin('log.example'), registryOrigin('log.example', 2)]
    expect(origins).toEqual(['log.example/registry', 'log.example/registry.2'])
    expect(origins.map(logOfRegistry)).toEqual(['log.example', 'log.example'])
    for (const other of [ORIGIN, '/registry', 'a/registry.0', 'a/registry.01', 'a/registry-b', 'a/registry/b'])
      expect(logOfRegistry(other), other).toBeUndefined()
  })
})
