// Offline verification: a pack of a trail with all facts and one with entries only, checked by the code behind
// `affidavit verify <file>`. The baseline hashes the same leaves, nodes and contents and does nothing else.
//   node bench/src/verify.ts [entries] [runs]
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type VerifierKey, verifyEd25519, verifyPack } from '@affidavit/trail'
import { nodeSha256 } from 'affidavit/src/verify/node-hash.ts'
import { withPack } from 'affidavit/src/verify/pack-file.ts'
import { type MadeTrail, makeTrail, writeTrailPack } from './verify-packs.ts'

interface Cost {
  /** Microseconds per entry. */
  readonly userUs: number
  readonly cpuUs: number
  readonly wallUs: number
}

async function cost(entries: number, work: () => Promise<void> | void): Promise<Cost> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await work()
  const wallUs = ((performance.now() - start) * 1000) / entries
  const { user, system } = process.cpuUsage(cpu)
  return { userUs: user / entries, cpuUs: (user + system) / entries, wallUs }
}

/** A run to warm up, then the median of each number. */
async function median(runs: number, entries: number, work: () => Promise<void> | void): Promise<Cost> {
  await work()
  const costs: Cost[] = []
  for (let run = 0; run < runs; run++) costs.push(await cost(entries, work))
  const middle = (pick: (cost: Cost) => number) => costs.map(pick).sort((a, b) => a - b)[Math.floor(runs / 2)]!
  return { userUs: middle((c) => c.userUs), cpuUs: middle((c) => c.cpuUs), wallUs: middle((c) => c.wallUs) }
}

async function verify({ path, key }: Pack): Promise<void> {
  const { outcome, findings } = await withPack(path, (pack) =>
    verifyPack(pack, { hash: nodeSha256, verify: verifyEd25519, vkeys: [key] }),
  )
  if (outcome !== 'held') throw new Error(`the pack does not hold: ${JSON.stringify(findings[0])}`)
}

/** SHA-256 of as many bytes as often as verification needs at least: leaf, node, and each content. */
function bareHashes(lengths: Int32Array): void {
  const buffer = Buffer.alloc(Math.max(...new Set(lengths)), 7)
  for (const length of lengths) hash('sha256', buffer.subarray(0, length), 'base64')
}

function hashedLengths({ entries, payloads }: MadeTrail, contents: number): Int32Array {
  return Int32Array.from(
    entries.flatMap((entry, seq) => {
      const { facts, personal = [] } = payloads[seq]!
      const parts = [34 + facts!.content.length, ...personal.map(({ content }) => 37 + content.length)]
      return [1 + entry.length, 65, ...(seq < contents ? parts : [])]
    }),
  )
}

interface Pack {
  readonly name: string
  readonly path: string
  readonly key: VerifierKey
  readonly floor: number
  /** Of everything that must be hashed. */
  readonly lengths: Int32Array
}

/** The trail itself is gone when this returns: its millions of objects would make the collector part of the result. */
async function makePacks(folder: string): Promise<Pack[]> {
  const trail = await makeTrail(size)
  const packs: Pack[] = []
  for (const [name, contents, floor] of [
    ['entries only', 1, 250_000],
    ['with facts and one personal line', size, 100_000],
  ] as const) {
    const path = join(folder, `${contents}.zip`)
    await writeTrailPack(trail, contents, path)
    packs.push({ name, path, key: trail.key, floor, lengths: hashedLengths(trail, contents) })
  }
  return packs
}

const size = Number(process.argv[2] ?? 200_000)
const runs = Number(process.argv[3] ?? 5)
const folder = mkdtempSync(join(tmpdir(), 'affidavit-bench-'))
try {
  const results = []
  for (const pack of await makePacks(folder)) {
    const verified = await median(runs, size, () => verify(pack))
    const baseline = await median(runs, size, () => bareHashes(pack.lengths))
    results.push({
      pack: pack.name,
      bytes: statSync(pack.path).size,
      perSecondPerCore: Math.round(1e6 / verified.userUs),
      budgetPerSecondPerCore: pack.floor,
      verified,
      baseline,
      ratioToBareHashing: verified.userUs / baseline.userUs,
    })
  }
  report(results)
} finally {
  rmSync(folder, { recursive: true })
}

function report(
  results: readonly {
    pack: string
    bytes: number
    perSecondPerCore: number
    budgetPerSecondPerCore: number
    verified: Cost
    baseline: Cost
    ratioToBareHashing: number
  }[],
): void {
  const machine = { cpu: cpus()[0]?.model, node: process.version, entries: size, runs }
  console.log(JSON.stringify({ benchmark: 'verify', machine, results }))
  console.log(
    '\n| pack | per second and core (user CPU) | budget | user µs | user + system µs | wall µs | bare hashing, user µs | ratio |',
  )
  console.log('|---|---|---|---|---|---|---|---|')
  for (const { pack, perSecondPerCore, budgetPerSecondPerCore, verified, baseline, ratioToBareHashing } of results) {
    const numbers = [verified.userUs, verified.cpuUs, verified.wallUs, baseline.userUs, ratioToBareHashing]
    const cells = numbers.map((number) => number.toFixed(2)).join(' | ')
    console.log(
      `| ${pack} | ${perSecondPerCore.toLocaleString('en')} | ${budgetPerSecondPerCore.toLocaleString('en')} | ${cells} |`,
    )
  }
}
