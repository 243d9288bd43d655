// A log that is not ours asks our witness: Tessera publishes no checkpoint before the witnesses of its policy have cosigned it.
// Skipped where Go is missing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parsePolicy, verifyCheckpoint, verifyEd25519 } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { goProgram } from '../../server/test/go-programs.ts'
import { nodeSha256 } from '../src/verify/node-hash.ts'
import { type RunningWitness, startWitness } from '../src/witness/server.ts'
import { WitnessState } from '../src/witness/state.ts'

const tesseralog = await goProgram('tesseralog')
const batches = [100, 300, 600]

describe.skipIf(tesseralog === null)('a log of Tessera', () => {
  let folder: string
  let running: RunningWitness | undefined
  let state: WitnessState | undefined

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'affidavit-tessera-'))
  })
  afterAll(async () => {
    await running?.stop()
    await state?.close()
    await rm(folder, { recursive: true, force: true })
  })

  /** Lets the log add its batches. @returns the sizes of the checkpoints that it published, all of them cosigned */
  async function published(): Promise<number[]> {
    const child = spawn(tesseralog!, [folder], { stdio: ['pipe', 'pipe', 'pipe'] })
    const ended = once(child, 'close')
    let told = ''
    child.stderr.on('data', (chunk: Buffer) => (told += chunk))
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const { value: vkey } = await lines.next()
    if (state === undefined) {
      state = await WitnessState.open(join(folder, 'witness.json'), 'witness.test/w1', [vkey!])
      running = await startWitness({ state, host: '127.0.0.1', port: 0, log: () => {} })
    }
    const policy = `witness w1 ${state.vkey} ${running!.url}\ngroup all-of-them all w1\nquorum all-of-them\n`
    child.stdin.end(policy)
    const sizes: number[] = []
    for (let line = await lines.next(); !line.done; line = await lines.next()) {
      const note = JSON.parse(line.value) as string
      const verdict = await verifyCheckpoint(verifyEd25519, note, parsePolicy(nodeSha256, `${policy}log ${vkey}\n`))
      expect(verdict).toMatchObject({ signed: true, quorum: true })
      sizes.push(verdict.checkpoint.size)
      expect(state.head(verdict.checkpoint.origin)!.size).toBeGreaterThanOrEqual(verdict.checkpoint.size)
    }
    const [code] = await ended
    expect([code, told.match(/FAILED.*/)?.[0]]).toEqual([0, undefined])
    return sizes
  }

  test('has its first checkpoint and its growth cosigned', async () => {
    expect(await published()).toEqual(batches)
  }, 120_000)

  test('that forgot what the witness has seen is told the size, and goes on from there', async () => {
    expect(await published()).toEqual(batches.map((size) => 600 + size))
  }, 120_000)
})
