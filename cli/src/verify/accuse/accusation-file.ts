/** Where an accusation goes: to the file that was named, else beside the state file; nowhere without either. */
import { writeFile } from 'node:fs/promises'
import { reasonOf } from '../../failure.ts'
import { nodeSha256 } from '../node-hash.ts'
import type { Accused } from './accuse.ts'

export interface AccusationArguments {
  readonly accusation?: string
  readonly state?: string
}

/** Writes it, and says so, or why it could not. Beside a state file the same accusation always has the same name. */
export async function keepAccusation(
  { text, message }: Accused,
  { accusation, state }: AccusationArguments,
): Promise<{ readonly path: string | undefined; readonly note: string }> {
  const said = `the log convicts itself by what it signed: ${message}`
  const digest = Buffer.from(nodeSha256(new TextEncoder().encode(text))).toString('hex')
  const path = accusation ?? (state === undefined ? undefined : `${state}.accusation-${digest.slice(0, 12)}`)
  if (path === undefined) return { path, note: `${said}; --accusation FILE keeps the proof of it` }
  try {
    await writeFile(path, text)
  } catch (error) {
    return { path: undefined, note: `${said}; the proof of it cannot be written to ${path}: ${reasonOf(error)}` }
  }
  return { path, note: `${said}; ${path} proves it to anyone who knows its key (affidavit verify ${path} --vkey KEY)` }
}
