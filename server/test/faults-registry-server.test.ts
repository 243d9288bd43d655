// A whole server is killed under load while it makes epochs as fast as it can: the registry log only ever grows, and every
// trail proves its newest head in it. Only with AFFIDAVIT_LONG=1: faults-registry.test.ts kills at each step in seconds.
import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  checkSlotProof,
  decodeBundle,
  decodeRegistryEntry,
  type Epoch,
  leafHash,
  parseCheckpoint,
  parseNote,
  parseSlotProof,
  TILE_WIDTH,
  tilePath,
  tileWidth,
  treeRoot,
} from '@affidavit/trail'
import { expect, onTestFinished, test } from 'vitest'
import { sha256 } from '../src/store/sha256.ts'
import { Load } from './faults-load.ts'
import { type ServerProcess, startProcess } from './server-process.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const rounds = 4
const tenants = ['acme', 'globex', 'initech']

interface Log {
  readonly size: number
  readonly root: Uint8Array
  readonly entries: readonly Uint8Array[]
  readonly leaves: readonly Uint8Array[]
}

async function readLog(server: ServerProcess): Promise<Log> {
  const note = await (await fetch(`${server.url}/v1/registry/checkpoint`)).text()
  const { size, root } = parseCheckpoint(parseNote(note).text)
  const entries: Uint8Array[] = []
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const path = tilePath({ level: 'entries', index, width: tileWidth('entries', index, size) })
    const reply = await fetch(`${server.url}/v1/registry/${path}`)
    entries.push(...decodeBundle(new Uint8Array(await reply.arrayBuffer()))!)
  }
  const leaves = entries.map((entry) => leafHash(sha256, entry))
  return { size, root, entries, leaves }
}

/** The size of the trail's head that its newest slot proof shows, after the proof was checked. */
async function shown(server: ServerProcess, tenant: string): Promise<number> {
  const headers = { authorization: `Bearer ${server.operatorKey}` }
  const reply = await fetch(`${server.url}/v1/trails/${tenant}/slot`, { headers })
  if (reply.status !== 200) return 0
  const proof = parseSlotProof(await reply.text())
  const { entries } = await readLog(server)
  expect(checkSlotProof(sha256, proof, decodeRegistryEntry(entries[proof.index]!) as Epoch)).toBeUndefined()
  return parseCheckpoint(proof.body).size
}

test.runIf(long)(
  `killed under load while epochs are made, ${rounds} rounds`,
  async () => {
    const server = await startProcess({ settings: { AFFIDAVIT_REGISTRY_INTERVAL_MS: '50' } })
    onTestFinished(() => server.remove())
    const load = new Load({ urls: [server.url], key: server.operatorKey, tenants, connections: 4, batch: 20 })
    let kept: Log = { size: 0, root: treeRoot(sha256, []), entries: [], leaves: [] }
    const heads = new Map<string, number>()
    for (let round = 0; round < rounds; round++) {
      const before = load.acknowledged.length
      load.start()
      while (load.acknowledged.length === before) await sleep(5)
      await sleep(randomInt(300, 1_500))
      await server.kill()
      await load.stop()
      await server.start()
      await load.settle()
      const last = Math.max(...tenants.map((tenant) => heads.get(tenant) ?? 0))
      for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100)) {
        const now = await Promise.all(tenants.map((tenant) => shown(server, tenant)))
        for (const [n, tenant] of tenants.entries()) {
          expect(now[n]!).toBeGreaterThanOrEqual(heads.get(tenant) ?? 0)
          heads.set(tenant, now[n]!)
        }
        if (Math.min(...now) > 0 && Math.max(...now) > last) break
      }
      const log = await readLog(server)
      expect(log.size).toBeGreaterThan(kept.size)
      expect(treeRoot(sha256, log.leaves)).toEqual(log.root)
      expect(treeRoot(sha256, log.leaves.slice(0, kept.size))).toEqual(kept.root)
      kept = log
    }
    const epochs = kept.entries.map((entry) => decodeRegistryEntry(entry) as Epoch)
    expect(epochs.map(({ epoch }) => epoch)).toEqual(epochs.map((_, n) => n + 1))
  },
  60_000 + rounds * 15_000,
)
