// `affidavit verify URL` follows the registry: an honest one over several days and visits, and every way in which an
// operator who holds all keys could show something else.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatVkey } from '@affidavit/trail'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeSha256 } from '../../trail/test/node-hash.ts'
import {
  COSIGNED_AT,
  cosigned,
  makeEpoch,
  makeSuccessor,
  REGISTRY,
  REGISTRY_VKEY,
  SampleLog,
  seededWitness,
  WITNESSES,
} from '../../trail/test/sample-registry.ts'
import { LOG, makeTrail, ORIGIN, seededKey, signedCheckpoint, TRAIL } from '../../trail/test/sample-trail.ts'
import { affidavit, type Told, verified } from './command-line.ts'
import { EPOCH_MINUTES, honestTrail, makeEpochs, makePlan, SampleServer, type Shown, TENANT } from './sample-server.ts'

const trail = honestTrail(300)
/** Ten epochs lie in two days and bind 81 entries; thirty-six bind 289. */
const epochs = makeEpochs(36, () => trail)
const past: Shown = { trail, size: 85, epochs: epochs.slice(0, 10) }
const present: Shown = { trail, epochs }

let server: SampleServer
let folder: string
const at = (name: string) => join(folder, name)
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-registry-'))
  server = await SampleServer.start(present)
})
afterEach(async () => {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

/** The sample's clock stands in spring. */
const ask = (...more: string[]): Promise<Told> =>
  verified([
    server.url,
    '--tenant',
    TENANT,
    '--key',
    'k',
    ...(more.includes('--max-age') ? [] : ['--max-age', '9999d']),
    ...more,
  ])
const state = () => ['--state', at('state.json')]

/** A first visit in the past leaves its state; now the server shows something else. */
async function visitThen(shown: Shown): Promise<Told> {
  server.shown = past
  const first = await ask(...state())
  expect(first.findings).toEqual([])
  expect(first).toMatchObject({ outcome: 'held', verdicts: { registry: 'held' } })
  server.shown = shown
  return ask(...state())
}

const short = ({ findings }: Told) =>
  findings.map(({ verdict, code, seq }) => `${verdict} ${code}${seq === undefined ? '' : ` ${seq}`}`)

describe('an honest registry', () => {
  test('holds, visit after visit, and every audit epoch in between is asked for', async () => {
    const asked: string[] = []
    server.instead = (path) => void asked.push(path)
    const told = await visitThen(present)
    expect(told).toMatchObject({
      outcome: 'held',
      assurance: 'anchored',
      verdicts: { registry: 'held', consistency: 'held' },
    })
    const slots = asked.filter((path) => path.includes('/slot')).map((path) => Number(/epoch=(\d+)/.exec(path)![1]))
    expect(slots.at(-1)).toBe(36)
    expect(slots.length).toBeGreaterThan(6)
    const kept = JSON.parse(await readFile(at('state.json'), 'utf8')) as {
      registries: { origin: string; vkey: string }[]
    }
    expect(kept.registries).toMatchObject([{ origin: REGISTRY, vkey: REGISTRY_VKEY }])
    expect(await ask(...state())).toMatchObject({ outcome: 'held' })
  })

  test('without anything from outside says that it only detects', async () => {
    expect(await ask()).toMatchObject({
      outcome: 'held',
      assurance: 'tamper-detecting only',
      verdicts: { registry: 'held' },
    })
  })

  test('a first visit is held against nothing that it keeps itself', async () => {
    const args = ['verify', server.url, '--tenant', TENANT, '--key', 'any', '--max-age', '9999d', ...state()]
    expect((await affidavit(args)).out).toMatch(/^Against +nothing from outside$/m)
    expect((await affidavit(args)).out).toMatch(/^Against .*the registry kept then \(size \d+\)/m)
  })

  test('an old view is said to be one', async () => {
    await visitThen(present)
    const told = await ask(...state(), '--max-age', '1h')
    expect(short(told)).toEqual(['registry stale_view'])
    expect(told).toMatchObject({ outcome: 'unchecked', exit_code: 2 })
  })
})

describe('witnesses', () => {
  const [first, second] = WITNESSES
  const both = ['--witness', first!.vkey, '--witness', second!.vkey]
  const with_ = (...signers: typeof WITNESSES) => ({ ...present, cosign: (note: string) => cosigned(note, signers) })

  test('a quorum anchors the trail, also for a first visit', async () => {
    server.shown = with_(first!, second!)
    expect(await ask(...both)).toMatchObject({ outcome: 'held', assurance: 'anchored', verdicts: { anchors: 'held' } })
    await writeFile(at('policy'), `witness a ${first!.vkey}\nwitness b ${second!.vkey}\ngroup g 1 a b\nquorum g\n`)
    server.shown = with_(second!)
    expect(await ask('--policy', at('policy'))).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    expect(await ask(...both, '--quorum', '1')).toMatchObject({ outcome: 'held' })
  })

  test('a policy that lists the log pins its key, with or without witnesses', async () => {
    const policy = async (log: string, rest: string) => {
      await writeFile(at('policy'), `log ${log}\n${rest}\n`)
      return ask('--policy', at('policy'))
    }
    expect(await policy(REGISTRY_VKEY, 'quorum none')).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    const other = seededKey(REGISTRY, 'other').vkey
    expect(short(await policy(other, 'quorum none'))).toContain('registry key_replaced')
    server.shown = with_(first!)
    const witnessed = await policy(other, `witness a ${first!.vkey}\nquorum a`)
    expect(witnessed).toMatchObject({ outcome: 'tampered', exit_code: 1 })
    expect(await policy(REGISTRY_VKEY, `witness a ${first!.vkey}\nquorum a`)).toMatchObject({ outcome: 'held' })
  })

  test('no quorum is not checked, and never held: a fork that only colluding witnesses have seen', async () => {
    server.shown = with_(first!)
    const told = await ask(...both)
    expect(short(told)).toEqual(['registry quorum_missing', 'anchors no_anchor'].sort())
    expect(told).toMatchObject({ outcome: 'unchecked', exit_code: 2, assurance: 'tamper-detecting only' })
    server.shown = with_(seededWitness('stranger.example/w'))
    expect((await ask(...both)).outcome).toBe('unchecked')
  })

  test('cosignatures that are old, or wrong', async () => {
    server.shown = with_(first!, second!)
    const age = Math.floor(Date.now() / 1000) - COSIGNED_AT
    expect(short(await ask(...both, '--max-age', `${age - 60}s`))).toContain('registry stale_view')
    const other = makeEpochs(36, () => honestTrail(301))
    server.shown = {
      ...present,
      cosign: async (note) =>
        note +
        (await cosigned(await new SampleLog(other.map(({ entry }) => entry)).note(3))).split('\n').slice(-3).join('\n'),
    }
    const told = await ask(...both)
    expect(short(told)).toContain('registry cosignature_wrong')
    expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1 })
  })

  test('a trail too young to be in an epoch', async () => {
    server.shown = { trail: honestTrail(3), epochs: [makeEpoch(1, 0, trail, 0)], cosign: (note) => cosigned(note) }
    server.instead = (path) => (path.includes('/slot') ? { status: 404, body: '{}' } : undefined)
    expect(short(await ask(...both))).toContain('registry not_in_registry')
    expect(await ask()).toMatchObject({ outcome: 'held' })
  })
})

/** The past rewritten: entry 40 has other facts, and everything after it is sealed anew with the real key. */
const forged = makeTrail(makePlan(300), new Map([[40, '{"action":"nothing.happened"}']]))
const grown = honestTrail(301)

describe('the operator, with all keys', () => {
  test('shows this customer another trail than the registry binds', async () => {
    server.shown = { ...present, trail: forged }
    const told = await ask()
    expect(told).toMatchObject({
      outcome: 'tampered',
      verdicts: { registry: 'failed', inclusion: 'held', signature: 'held' },
    })
    expect(short(told)).toContain('registry forked')
  })

  test('alternates: the newest epoch binds what is shown, an audit epoch in between binds a fork', async () => {
    const alternating = makeEpochs(36, (epoch) => (epoch > 20 && epoch < 30 ? forged : trail))
    const told = await visitThen({ ...present, epochs: [...epochs.slice(0, 10), ...alternating.slice(10)] })
    const found = told.findings.filter(({ verdict }) => verdict === 'registry')
    expect(found.length).toBeGreaterThan(0)
    for (const { code, message } of found) {
      expect(code).toBe('forked')
      expect(message).toMatch(/^epoch 2\d of 2026-03-1\d/)
    }
    expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1 })
  })

  test('rolls the registry back, forks it, replaces it, or shows none', async () => {
    const back = await visitThen({ ...past, registrySize: 7 })
    expect(short(back)).toContain('registry registry_rolled_back')
    const fork = await visitThen({ ...present, trail: forged, epochs: makeEpochs(36, () => forged) })
    expect(short(fork)).toEqual(expect.arrayContaining(['registry registry_forked', 'consistency history_rewritten']))
    const shorter = { ...REGISTRY_1, entries: epochs.slice(0, 3).map(({ entry }) => entry) }
    expect(short(await visitThen({ ...present, ...shorter, epochs: epochs.slice(0, 3) }))).toContain(
      'registry registry_replaced',
    )
    server.instead = (path) => (path.startsWith('/v1/registry') ? { status: 404, body: '{}' } : undefined)
    expect(short(await ask(...state()))).toEqual(['registry registry_gone'])
  })

  test('shows two customers two registries: what a colleague kept tells', async () => {
    server.shown = { ...present, trail: forged, epochs: makeEpochs(36, () => forged) }
    await writeFile(at('colleague'), await new SampleLog(epochs.map(({ entry }) => entry)).note(20))
    const told = await ask('--checkpoint', at('colleague'))
    expect(short(told)).toContain('registry registry_forked')
    server.shown = present
    await ask('--state', at('theirs.json'))
    server.shown = { ...present, trail: forged, epochs: makeEpochs(36, () => forged) }
    const states = await ask('--checkpoint', at('theirs.json'))
    expect(short(states)).toEqual(expect.arrayContaining(['registry registry_forked', 'consistency history_rewritten']))
    server.shown = present
    expect(await ask('--checkpoint', at('theirs.json'), '--checkpoint', at('colleague'))).toMatchObject({
      outcome: 'held',
      assurance: 'anchored',
    })
  })

  test('puts back an older end of the trail', async () => {
    server.shown = { ...present, size: 200 }
    expect(short(await ask())).toContain('registry behind_registry 200')
  })

  test('seals today what shall look like last week', async () => {
    // Entry 290 claims to be of the time of entry 282, but epoch 36, four hours after that, has 289 entries.
    const minutes = 282 * 30
    const plan = makePlan(
      300,
      new Map(Array.from({ length: 18 }, (_, i) => [282 + i, { minutes: minutes + Math.min(i, 5) }])),
    )
    server.shown = { trail: makeTrail(plan), epochs: makeEpochs(36, () => makeTrail(plan)) }
    const told = await ask()
    expect(short(told)).toEqual(['registry backdated 289'])
    expect(told).toMatchObject({ outcome: 'tampered', first_wrong: 289 })
  })

  test('gives the slot to another, or hides it', async () => {
    const other = makeEpochs(36, () => grown)
    server.shown = { ...present, epochs: [...epochs.slice(0, 35), { ...epochs[35]!, body: other[34]!.body }] }
    expect(short(await ask())).toContain('registry slot_proof')
    server.shown = present
    server.instead = (path) => (path.endsWith('epoch=36') ? { status: 404, body: '{}' } : undefined)
    expect(short(await ask())).toEqual(['registry slot_not_served'])
  })

  test('breaks the order of epochs', async () => {
    const twice = [...epochs.slice(0, 20), makeEpoch(22, 21 * EPOCH_MINUTES, trail, 169), makeEpoch(23, 5, trail, 1)]
    const told = await visitThen({ ...present, epochs: twice })
    expect(short(told)).toEqual(expect.arrayContaining(['registry epoch_gap', 'registry epoch_backwards']))
    const others = epochs.slice(0, 34).map(({ entry }) => entry)
    const [before, last] = [epochs[34]!.entry, epochs[35]!.entry]
    const atOnce = await visitThen({ ...present, entries: [...others, before, { ...last, time: before.time }] })
    expect(short(atOnce)).toContain('registry epoch_backwards')
    const shrunk = await visitThen({ ...present, entries: [...others, { ...before, depth: before.depth + 1 }, last] })
    expect(short(shrunk)).toContain('registry depth_shrunk')
  })
})

const REGISTRY_1 = { registrySigner: seededRegistrySigner(`${REGISTRY}.1`) }

function seededRegistrySigner(name: string) {
  const { signer } = seededKey(name, 'log key')
  return { ...signer, sign: LOG.signer.sign, id: keyIdOf(name) }
}

function keyIdOf(name: string): Uint8Array {
  const vkey = formatVkey(nodeSha256, name, LOG.key.publicKey)
  return Buffer.from(vkey.split('+')[1]!, 'hex')
}

describe('the log key', () => {
  const successor = seededKey(REGISTRY, 'next log key')
  const trailSigner = seededKey(ORIGIN, 'next log key')

  test('replaced without a succession is a finding, in the registry and in the trail', async () => {
    const told = await visitThen({ ...present, registrySigner: { ...successor.signer, name: REGISTRY } })
    expect(short(told)).toContain('registry key_replaced')
    const both = await visitThen({
      ...present,
      registrySigner: { ...successor.signer, name: REGISTRY },
      trailSigner: { ...sameSeed(), name: ORIGIN },
    })
    expect(short(both)).toEqual(expect.arrayContaining(['registry key_replaced', 'signature not_signed']))
  })

  const sameSeed = () => ({ ...trailSigner.signer, id: seededKeyId() })
  const seededKeyId = () => Buffer.from(formatVkey(nodeSha256, ORIGIN, successor.key.publicKey).split('+')[1]!, 'hex')

  test('replaced by a succession that the old key signed is followed, and remembered', async () => {
    const named = await makeSuccessor(successor.vkey)
    const entries = [
      ...epochs.slice(0, 20).map(({ entry }) => entry),
      named,
      ...epochs.slice(20).map(({ entry }) => entry),
    ]
    const now = {
      ...present,
      entries,
      registrySigner: successor.signer,
      trailSigner: { name: ORIGIN, id: seededKeyId(), sign: successor.signer.sign },
    }
    const told = await visitThen(now)
    expect(told.findings).toEqual([])
    expect(told).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    expect(await ask(...state())).toMatchObject({ outcome: 'held' })
    // The key of the contract is the first one: the state knows what came of it.
    expect(await ask(...state(), '--vkey', LOG.vkey)).toMatchObject({ outcome: 'held' })
    expect(await ask('--vkey', LOG.vkey)).toMatchObject({ outcome: 'held' })
    // A first visitor without any key takes the keys that the server names, also where an old one signed the trail.
    server.shown = { ...now, trailSigner: LOG.signer }
    server.instead = (path) => (path.endsWith('/vkeys') ? { body: `${REGISTRY_VKEY}\n${successor.vkey}\n` } : undefined)
    expect(await ask('--state', at('fresh.json'))).toMatchObject({ outcome: 'held' })
    const fresh = JSON.parse(await readFile(at('fresh.json'), 'utf8')) as { registries: { vkey: string }[] }
    expect(fresh.registries).toMatchObject([{ vkey: successor.vkey }])
    server.shown = present
    expect((await ask(...state())).outcome).toBe('tampered')
  })

  test('a succession that somebody else signed is none', async () => {
    const named = await makeSuccessor(successor.vkey, seededKey(REGISTRY, 'thief').signer)
    const entries = [
      ...epochs.slice(0, 20).map(({ entry }) => entry),
      named,
      ...epochs.slice(20).map(({ entry }) => entry),
    ]
    const told = await visitThen({ ...present, entries, registrySigner: successor.signer })
    expect(short(told)).toEqual(expect.arrayContaining(['registry false_successor', 'registry key_replaced']))
  })
})

test('a key pins the slot of its trail: another tenant of the same log cannot be shown in its place', async () => {
  const keyUnder = (name: string) => formatVkey(nodeSha256, name, LOG.key.publicKey)
  const [elsewhere, sameSlot] = ['ffffffff', TRAIL.slice(0, 8)].map((slot) =>
    keyUnder(`log.example/${slot}${'0'.repeat(24)}`),
  )
  const told = await ask('--vkey', elsewhere!)
  expect(short(told)).toContain('signature not_signed')
  expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1 })
  for (const vkey of [LOG.vkey, REGISTRY_VKEY, sameSlot!])
    expect(await ask('--vkey', vkey)).toMatchObject({ outcome: 'held', assurance: 'anchored' })
})

test('a kept checkpoint of something else is said to be that', async () => {
  await writeFile(at('other'), (await signedCheckpoint(trail, 5)).replaceAll('log.example', 'log.other'))
  expect(short(await ask('--checkpoint', at('other')))).toContain('consistency other_trail')
})
