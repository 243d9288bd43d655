// The table of docs/concepts/threats.md, read: what its cells say is what the tests expect, so the page cannot claim what
// no test shows, and no test can hold what the page does not say.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Told } from '../../../cli/test/command-line.ts'

const columns = ['nothing', 'vkey', 'state', 'witnesses', 'also'] as const

/** For servers that start on a machine that has much else to do. */
export const PATIENCE_MS = 180_000

/** What the verifier brought along. */
export type Brought = (typeof columns)[number]

interface Cell {
  readonly text: string
  readonly outcome: 'tampered' | 'unchecked' | 'held' | 'other'
  readonly codes: readonly string[]
  /** A finding names the entry. */
  readonly atEntry: boolean
}

interface Row {
  readonly name: string
  readonly cells: ReadonlyMap<Brought, Cell>
}

const page = join(import.meta.dirname, '..', '..', '..', 'docs', 'concepts', 'threats.md')

/** Every row of the page's table, by its first cell. */
export function readTable(): Row[] {
  const lines = readFileSync(page, 'utf8').split('\n')
  const start = lines.findIndex((line) => /^\|\s*somebody …/.test(line))
  const end = lines.findIndex((line, at) => at > start && !line.startsWith('|'))
  return lines.slice(start + 2, end).map(rowOf)
}

function rowOf(line: string): Row {
  const [name = '', ...cells] = line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
  return { name, cells: new Map(columns.map((column, at) => [column, cellOf(cells[at] ?? '')])) }
}

function cellOf(text: string): Cell {
  const codes = [...text.matchAll(/`([a-z_]+)`/g)].map(([, code]) => code!)
  return { text, outcome: outcomeOf(text), codes, atEntry: text.includes('at the entry') }
}

function outcomeOf(text: string): Cell['outcome'] {
  if (/(^|: )caught\b/.test(text)) return 'tampered'
  if (/(^|: )not vouched for\b/.test(text)) return 'unchecked'
  return /(^|: )no\b/.test(text) ? 'held' : 'other'
}

/** One row under test. */
export class Threat {
  readonly #row: Row
  readonly #left: Set<Brought>

  constructor(name: string) {
    const row = readTable().find((one) => one.name === name)
    if (row === undefined) throw new Error(`docs/concepts/threats.md has no row "${name}"`)
    this.#row = row
    this.#left = new Set(columns.filter((column) => row.cells.get(column)!.outcome !== 'other'))
  }

  /** Holds a verdict against the cell. @param seq entry that a finding must name where the cell says so */
  judge(brought: Brought, told: Pick<Told, 'outcome' | 'findings'>, seq?: number): void {
    const { outcome, codes, atEntry } = this.#row.cells.get(brought)!
    const found = told.findings.map(({ code, seq, message }) => `${code} ${seq ?? ''} ${message}`).slice(0, 12)
    expect(told.outcome, `${brought}: ${found.join('\n')}`).toBe(outcome)
    for (const code of codes) {
      const seqs = told.findings.filter((one) => one.code === code).map((one) => one.seq)
      expect(seqs.length, `${brought} lacks ${code}: ${found.join('\n')}`).toBeGreaterThan(0)
      if (atEntry) expect(seqs, `${brought}: ${found.join('\n')}`).toContain(seq)
    }
    this.#left.delete(brought)
  }

  /** Every cell was put to the test. */
  finish(): void {
    expect([...this.#left], 'cells that nobody judged').toEqual([])
  }
}

/** The test of one row. */
export function attacked(name: string, attack: (threat: Threat) => Promise<void>): void {
  test(
    name,
    async () => {
      const threat = new Threat(name)
      await attack(threat)
      threat.finish()
    },
    PATIENCE_MS,
  )
}
