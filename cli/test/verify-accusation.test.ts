// A live check that finds the log contradicting itself in what it signed writes the proof of it: a file that convicts the
// log before anybody who knows its key, and nobody else's.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatSuccession } from '@affidavit/trail'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { signerUnder } from '../../trail/test/packed-succession.ts'
import { makeEpoch, makeSuccessor, REGISTRY, SampleLog } from '../../trail/test/sample-registry.ts'
import { LOG, makeTrail, ORIGIN, seededKey } from '../../trail/test/sample-trail.ts'
import { affidavit, type Told, verified } from './command-line.ts'
import { EPOCH_MINUTES, honestTrail, makeEpochs, makePlan, SampleServer, type Shown, TENANT } from './sample-server.ts'

const trail = honestTrail(300)
const forged = makeTrail(makePlan(300), new Map([[40, '{"action":"nothing.happened"}']]))
const epochs = makeEpochs(36, () => trail)
const past: Shown = { trail, size: 85, epochs: epochs.slice(0, 10) }
const present: Shown = { trail, epochs }

let server: SampleServer
let folder: string
const at = (name: string) => join(folder, name)
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-accusation-'))
  server = await SampleServer.start(present)
})
afterEach(async () => {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

const about = ['--tenant', TENANT, '--key', 'k', '--max-age', '9999d']
const ask = (...more: string[]) =>
  verified([server.url, ...about, ...more]) as Promise<Told & { accusation?: string; notes: string[] }>
const state = () => ['--state', at('state.json')]
const judge = (path: string, vkey = LOG.vkey) => affidavit(['verify', path, '--vkey', vkey])
const files = async () => (await readdir(folder)).filter((name) => name !== 'state.json')

test('a rewritten trail: the checkpoint kept then convicts the one shown now', async () => {
  server.shown = past
  expect(await ask(...state())).toMatchObject({ outcome: 'held' })
  expect(await files()).toEqual([])
  server.shown = { ...present, trail: forged, epochs: makeEpochs(36, () => forged) }
  const told = await ask(...state())
  expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1 })
  const [name] = await files()
  expect(told.accusation).toBe(at(name!))
  expect(told.notes.join()).toContain(`${at(name!)} proves it to anyone who knows its key`)
  expect(await judge(at(name!))).toMatchObject({
    code: 1,
    out: expect.stringContaining('PROVEN: the log broke its word'),
  })
  expect(await judge(at(name!), seededKey(ORIGIN, 'other').vkey)).toMatchObject({ code: 2 })
  // A succession that the accused serves to spoil the case does not.
  const foreign = seededKey(REGISTRY, 'foreign')
  const spoilt = new SampleLog(
    [await makeSuccessor(foreign.vkey), await makeSuccessor(foreign.vkey, seededKey(REGISTRY, 'thief').signer)],
    signerUnder(REGISTRY, foreign),
  )
  const successors = await Promise.all(
    [0, 1].map(async (index) => ({
      entry: await makeSuccessor(foreign.vkey),
      index,
      proof: await spoilt.inclusion(index),
    })),
  )
  const spoiling = formatSuccession({ checkpoint: await spoilt.note(), successors })
  server.instead = (path) => (path === '/v1/registry/succession' ? { body: spoiling } : undefined)
  expect((await ask(...state())).accusation).toBe(at(name!))
  server.instead = () => undefined
  // The same again is the same file; without a place for it the report says how to get it.
  await ask(...state())
  expect(await files()).toEqual([name])
  const elsewhere = await affidavit(['verify', server.url, ...about, '--accusation', at('mine'), ...state()])
  expect(elsewhere.out).toContain(`${at('mine')} proves it`)
  expect(await readFile(at('mine'), 'utf8')).toBe(await readFile(at(name!), 'utf8'))
})

test('a forked registry under an untouched trail', async () => {
  server.shown = past
  await ask(...state())
  // The same trail, bound by other epochs than those that were shown.
  const other = makeEpochs(37, () => trail).slice(1)
  server.shown = { ...present, epochs: other }
  const told = await ask(...state())
  expect(told.findings.map(({ code }) => code)).toContain('registry_forked')
  expect(await judge(told.accusation!)).toMatchObject({
    code: 1,
    out: expect.stringContaining(`Log       ${REGISTRY}`),
  })
})

test('a trail that is not what an epoch binds, on a first visit', async () => {
  server.shown = { ...present, trail: forged }
  const told = await ask('--accusation', at('fork'))
  expect(told).toMatchObject({ outcome: 'tampered', accusation: at('fork') })
  expect(await judge(at('fork'))).toMatchObject({ code: 1, out: expect.stringContaining('states root') })
})

test('a trail rolled back in the registry: a later epoch binds less than an earlier one', async () => {
  const back = epochs.slice(30).map(({ entry }) => makeEpoch(entry.epoch, entry.epoch * EPOCH_MINUTES, trail, 150))
  server.shown = { trail, size: 150, epochs: [...epochs.slice(0, 30), ...back] }
  const told = await ask('--accusation', at('back'))
  expect(told).toMatchObject({ outcome: 'tampered', accusation: at('back') })
  expect(await judge(at('back'))).toMatchObject({ code: 1, out: expect.stringContaining('binds only') })
})

test('after a rotation the file brings the succession along: the first key is enough to judge it', async () => {
  server.shown = past
  await ask(...state())
  const next = seededKey(REGISTRY, 'next log key')
  const named = await makeSuccessor(next.vkey)
  const forgedEpochs = makeEpochs(36, (epoch) => (epoch > 10 ? forged : trail))
  const entries = [
    ...epochs.slice(0, 10).map(({ entry }) => entry),
    named,
    ...forgedEpochs.slice(10).map(({ entry }) => entry),
  ]
  server.shown = {
    trail: forged,
    epochs: [...epochs.slice(0, 10), ...forgedEpochs.slice(10)],
    entries,
    registrySigner: signerUnder(REGISTRY, next),
    trailSigner: signerUnder(ORIGIN, next),
  }
  const log = new SampleLog(entries, signerUnder(REGISTRY, next))
  const successors = [{ entry: named, index: 10, proof: await log.inclusion(10) }]
  const succession = formatSuccession({ checkpoint: await log.note(), successors })
  server.instead = (path) => (path === '/v1/registry/succession' ? { body: succession } : undefined)
  const told = await ask(...state())
  expect(told.findings.map(({ code }) => code)).toContain('history_rewritten')
  expect(await readFile(told.accusation!, 'utf8')).toContain('affidavit/1 succession')
  expect(await judge(told.accusation!)).toMatchObject({ code: 1, out: expect.stringContaining('PROVEN') })
})

test('what is only gone, or only stale, convicts nobody', async () => {
  await ask(...state())
  server.shown = past
  const told = await ask(...state())
  expect(told.outcome).toBe('tampered')
  expect(told.accusation).toBeUndefined()
  expect(await files()).toEqual([])
})
