// Offline verification: a pack of a trail with all facts and one with entries only, checked by the code behind
// `affidavit verify <file>`. The baseline hashes the same leaves, nodes and contents and does nothing else.
import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Figure, figure, median, report } from './report.ts'
import { type Cost, measure } from './verify-cost.ts'
import { type MadeTrail, makeTrail, writeTrailPack } from './verify-packs.ts'

const method = `
Two packs of one trail of events of about 540 bytes from 40 people, made beforehand: one with entries only, one with facts and
one personal line for each. A process of its own verifies a pack once to warm up and then once per run, against a pinned key,
from a file in the page cache. Rates are entries per second of user CPU time of all its threads; wall time, given beside, is
that of a process on one core (\`taskset\`), reading and the system included. Bare hashing is node:crypto's one-shot SHA-256 over
as many bytes as often as a verification needs at least: each leaf, one node per leaf, each content.`

interface Pack {
  readonly name: string
  readonly path: string
  readonly vkey: string
  readonly budget: string
  /** Of everything that must be hashed. */
  readonly lengths: Int32Array
}

/** @param entries of each pack */
export async function verify(folder: string, entries: number, runs: number): Promise<void> {
  const files = mkdtempSync(join(folder, 'affidavit-verify-'))
  try {
    const figures: Figure[] = []
    for (const pack of await makePacks(files, entries)) figures.push(...(await figuresOf(pack, entries, runs)))
    report('verify', `${method}\n${entries.toLocaleString('en')} entries.`, figures)
  } finally {
    rmSync(files, { recursive: true })
  }
}

async function figuresOf(pack: Pack, entries: number, runs: number): Promise<Figure[]> {
  const verified = inProcess(pack, entries, runs)
  const bare = await measure(runs, entries, () => bareHashes(pack.lengths))
  const rates = verified.map(({ userUs }) => 1e6 / userUs)
  const of = (what: string, unit: string, values: readonly number[], budget?: string) =>
    figure(`${pack.name}: ${what}`, unit, values, budget)
  return [
    of('verified', 'entries/s of one core', rates, pack.budget),
    of(
      'wall time on one core',
      'µs/entry',
      verified.map(({ wallUs }) => wallUs),
    ),
    of(
      'bare hashing',
      'µs/entry',
      bare.map(({ userUs }) => userUs),
    ),
    of('verification to bare hashing', '×', [
      median(verified.map(({ userUs }) => userUs)) / median(bare.map(({ userUs }) => userUs)),
    ]),
    of('size', 'bytes/entry', [statSync(pack.path).size / entries]),
  ]
}

function inProcess({ path, vkey }: Pack, entries: number, runs: number): Cost[] {
  const args = [join(import.meta.dirname, 'verify-one.ts'), path, vkey, String(entries), String(runs)]
  return JSON.parse(execFileSync('taskset', ['-c', '0', process.execPath, ...args], { encoding: 'utf8' })) as Cost[]
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

async function makePacks(folder: string, entries: number): Promise<Pack[]> {
  const trail = await makeTrail(entries)
  const packs: Pack[] = []
  for (const [name, contents, budget] of [
    ['entries only', 1, '≥ 250,000'],
    ['with facts and one personal line', entries, '≥ 100,000'],
  ] as const) {
    const path = join(folder, `${contents}.zip`)
    await writeTrailPack(trail, contents, path)
    packs.push({ name, path, vkey: trail.vkey, budget, lengths: hashedLengths(trail, contents) })
  }
  return packs
}
