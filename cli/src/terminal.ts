/** What a command writes to: results on standard output, everything else on standard error. */
import util from 'node:util'
import { type Environment, wantsColour } from './config.ts'

export interface Output {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export interface Terminal {
  readonly stdin: AsyncIterable<Uint8Array>
  readonly stdout: Output
  readonly stderr: Output
  readonly environment: Environment
}

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow'

/** Styles text for one of the outputs, or leaves it as it is. */
export function painter(output: Output, environment: Environment): (style: Style, text: string) => string {
  // Node 20 has styleText only from 20.12 on.
  if (util.styleText === undefined || !wantsColour(output, environment)) return (_style, text) => text
  return (style, text) => util.styleText(style, text, { validateStream: false })
}

/** Prints a line of results. */
export function print(terminal: Terminal, text: string): void {
  terminal.stdout.write(`${text}\n`)
}

/** Control characters and those that turn the direction of text around. */
const UNPRINTABLE = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Prints JSON for programs. JSON leaves some characters as they are that a terminal obeys. */
export function printJson(terminal: Terminal, value: unknown): void {
  terminal.stdout.write(`${JSON.stringify(value, null, 2).replace(UNPRINTABLE, escaped)}\n`)
}

/** Says something beside the results. */
export function say(terminal: Terminal, text: string): void {
  terminal.stderr.write(`${text}\n`)
}

/**
 * Text from a server, fit for a terminal: control characters could move the cursor, recolour what was printed before,
 * or make up lines of a report.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced here
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
}

const REDRAW_MS = 100
/** Without a terminal a line now and then is enough, and none at all for what is quick. */
const LINE_MS = 5000

export interface ProgressLine {
  /** Shows the line that `describe` gives, unless one was shown a moment ago. */
  update(describe: () => string): void
  /** Clears the line, so that something else can be printed. */
  clear(): void
}

/** One line on standard error that redraws itself; a line every few seconds where it cannot. */
export function progressLine({ stderr }: Terminal): ProgressLine {
  const isTerminal = stderr.isTTY === true
  let shown_ms = performance.now()
  let isDrawn = false
  return {
    update(describe) {
      const now_ms = performance.now()
      if (now_ms - shown_ms < (isTerminal ? REDRAW_MS : LINE_MS)) return
      shown_ms = now_ms
      const line = printable(describe())
      stderr.write(isTerminal ? `\r\u001b[2K${line.slice(0, (stderr.columns ?? 80) - 1)}` : `${line}\n`)
      isDrawn = isTerminal
    },
    clear() {
      if (isDrawn) stderr.write('\r\u001b[2K')
      isDrawn = false
    },
  }
}

/** 30477 → "30,477". */
export const count = (n: number): string => n.toLocaleString('en-US')

/** "1 entry", "30,477 entries". */
export function plural(n: number, one: string, many: string): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows
    .map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  '))
    .join('\n')
}
