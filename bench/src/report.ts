// Results as they are committed: figures with their method, the ratio to a baseline of the same run, and the machine.
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

export interface Figure {
  readonly what: string
  /** Median of the runs. */
  readonly value: number
  readonly unit: string
  /** All runs, in order. */
  readonly runs: readonly number[]
  readonly budget?: string
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** @param p 0–100 */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil((p / 100) * sorted.length) - 1)]!
}

export const figure = (what: string, unit: string, runs: readonly number[], budget?: string): Figure => ({
  what,
  unit,
  value: median(runs),
  runs,
  ...(budget !== undefined && { budget }),
})

/** Counts as they are, everything else with three digits that say something. */
const number = (value: number) =>
  Number.isInteger(value) || Math.abs(value) >= 100
    ? Math.round(value).toLocaleString('en')
    : value.toFixed(value < 1 ? 3 : 2)

/** Prints a result and writes it to bench/results/<name>.md. @param limits why a budget is missed, where one is */
export function report(name: string, method: string, figures: readonly Figure[], limits = ''): void {
  const [cpu] = cpus()
  const rows = figures.map(
    ({ what, value, unit, runs, budget }) =>
      `| ${what} | ${number(value)} ${unit} | ${runs.map(number).join(', ')} | ${budget ?? ''} |`,
  )
  const text = [
    `# ${name}`,
    '',
    `${new Date().toISOString().slice(0, 10)} · Node ${process.versions.node} · ${cpus().length} × ${cpu!.model.trim()} · ${Math.round(totalmem() / 2 ** 30)} GiB · Linux ${release()}`,
    '',
    method.trim(),
    '',
    '| what | median | runs | budget |',
    '|---|---|---|---|',
    ...rows,
    ...(limits === '' ? [] : ['', limits.trim()]),
    '',
  ].join('\n')
  const folder = join(import.meta.dirname, '..', 'results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.md`), text)
  console.log(text)
}
