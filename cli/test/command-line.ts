/** Runs the command line inside the test's process, with its output captured. */

import { run } from '../src/program.ts'
import type { Report } from '../src/verify/report.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** A command line as an array, run with an environment of its own. */
export async function affidavit(args: readonly string[], environment: Record<string, string> = {}): Promise<Ran> {
  let out = ''
  let err = ''
  const code = await run(args, {
    stdin: (async function* () {})(),
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
    environment,
  })
  return { code, out, err }
}

/** What `verify --json` prints. */
export interface Told {
  readonly outcome: 'held' | 'tampered' | 'unchecked'
  readonly exit_code: number
  readonly assurance: string
  readonly first_wrong?: number
  readonly subject: Report['subject']
  readonly verdicts: Readonly<Record<string, string>>
  readonly findings: readonly { verdict: string; code: string; seq?: number; message: string; filter?: string }[]
  /** Of packs only. */
  readonly anchors?: readonly { kind: string; time: string; entries: number }[]
  readonly notes: readonly string[]
}

/** `verify … --json`, checked for saying the same in its exit code. */
export async function verified(args: readonly string[], environment: Record<string, string> = {}): Promise<Told> {
  const { code, out, err } = await affidavit(['verify', ...args, '--json'], environment)
  if (out === '') throw new Error(`nothing was printed: ${err}`)
  const told = JSON.parse(out) as Told
  if (told.exit_code !== code) throw new Error(`exit code ${code}, told ${told.exit_code}`)
  return told
}
