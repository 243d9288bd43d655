/** Progress of an import for people: one line that redraws itself on a terminal, a line every few seconds elsewhere. */

import type { Progress, Summary } from './run.ts'

export interface ProgressLine {
  update(progress: Progress): void
  /** Clears the line, so that something else can be printed. */
  clear(): void
}

interface Output {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

const REDRAW_MS = 100
const LINE_MS = 5000

/** @param totalBytes size of the input, if known: then the share done and the time left are shown */
export function progressLine(output: Output, totalBytes?: number): ProgressLine {
  const terminal = output.isTTY === true
  let shownMs = 0
  let drawn = false
  return {
    update(progress) {
      if (progress.elapsedMs - shownMs < (terminal ? REDRAW_MS : LINE_MS)) return
      shownMs = progress.elapsedMs
      const line = describeProgress(progress, totalBytes)
      output.write(terminal ? `\r\x1b[2K${line.slice(0, (output.columns ?? 80) - 1)}` : `${line}\n`)
      drawn = terminal
    },
    clear() {
      if (drawn) output.write('\r\x1b[2K')
      drawn = false
    },
  }
}

/** "12,000 records, 8,000/s, 1 rejected, 40 %, 2 s left" */
export function describeProgress(progress: Progress, totalBytes?: number): string {
  const { records, rejected, bytesRead, elapsedMs } = progress
  const parts = [`${count(records)} records`, `${count(perSecond(records, elapsedMs))}/s`]
  if (rejected > 0) parts.push(`${count(rejected)} rejected`)
  if (totalBytes !== undefined && totalBytes > 0 && bytesRead > 0) {
    const share = Math.min(1, bytesRead / totalBytes)
    parts.push(`${Math.floor(share * 100)} %`, `${duration((elapsedMs * (1 - share)) / share)} left`)
  }
  return parts.join(', ')
}

/** The closing lines of an import. */
export function describeSummary(summary: Summary): string {
  const { records, accepted, duplicates, rejected, elapsedMs, stopped } = summary
  const lines = [
    `${count(records)} records in ${duration(elapsedMs)} (${count(perSecond(records, elapsedMs))}/s)`,
    `  ${count(accepted)} accepted`,
    `  ${count(duplicates)} duplicates (stored before, or the same record twice in the input)`,
    `  ${count(rejected)} rejected`,
  ]
  if (stopped) {
    lines.push(
      `Stopped before the end of the input: ${stopped.message} [${stopped.code}]. Run the same import again to go on.`,
    )
  }
  return lines.join('\n')
}

/** 0 if every record of the input is stored, else 1. */
export function exitCode(summary: Summary): 0 | 1 {
  return summary.rejected === 0 && summary.stopped === undefined ? 0 : 1
}

function perSecond(n: number, elapsedMs: number): number {
  return elapsedMs > 0 ? Math.round((n * 1000) / elapsedMs) : 0
}

function count(n: number): string {
  return n.toLocaleString('en-US')
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds < 60) return seconds < 10 ? `${(ms / 1000).toFixed(1)} s` : `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
