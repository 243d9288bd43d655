// The sender of an event holds its receipt against what is shown, and a judge who knows only the log's key decides.
import { writeFile } from 'node:fs/promises'
import { expect } from 'vitest'
import { affidavit } from '../../../cli/test/command-line.ts'
import type { Affidavit } from '../../../sdk/src/index.ts'
import type { Threat } from './table.ts'
import type { Visitor } from './visitor.ts'

/** @param sender keeps receipts of what was dropped */
export async function judgeAccusation(threat: Threat, sender: Affidavit, visitor: Visitor, seq: number): Promise<void> {
  const { problems } = await sender.confirm()
  expect(problems).toMatchObject([{ kind: 'contradicted' }])
  const file = `${visitor.state}.accusation`
  await writeFile(file, problems[0]!.accusation!)
  const { code, out } = await affidavit(['verify', file, '--vkey', visitor.vkey, '--json'])
  const told = JSON.parse(out) as { kind: string; outcome: string; seq?: number; message: string; exit_code: number }
  expect(told).toMatchObject({ outcome: 'proven', exit_code: code })
  const outcome = code === 1 ? 'tampered' : 'unchecked'
  const { kind, message } = told
  threat.judge(
    'also',
    { outcome, findings: [{ verdict: '', code: kind, message, ...(told.seq !== undefined && { seq: told.seq }) }] },
    seq,
  )
}
