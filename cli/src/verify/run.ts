/** `affidavit verify` after its arguments were read: brings together what is checked and what it is held against. */
import { EXIT_CODES } from '@affidavit/trail'
import { Failure } from '../failure.ts'
import type { Terminal } from '../terminal.ts'
import { bring, type VerifyArguments } from './brought/brought.ts'
import { beginsAsAccusation, judgeAccusation } from './file/of-accusation.ts'
import { ofFile } from './file/of-pack.ts'
import { beginsAsTlogProof, judgeTlogProof } from './file/of-tlog-proof.ts'
import { overHttp } from './live/over-http.ts'
import { outcomeOf, printReport, printReportJson } from './report.ts'

export type { VerifyArguments } from './brought/brought.ts'

/** Verifies a pack, a proof or an accusation in a file, or a server's trail; prints the report. @returns the exit code */
export async function runVerify(subject: string, options: VerifyArguments, terminal: Terminal): Promise<number> {
  if (/^[a-z\d.-]+:\d{1,5}(?:\/|$)/i.test(subject))
    throw new Failure(`${subject} is no file. If it is a server, write http://${subject} or https://${subject}.`)
  const brought = await bring(options)
  const isAddress = /^https?:\/\//.test(subject)
  if (!isAddress && (await beginsAsAccusation(subject)))
    return judgeAccusation(subject, brought, options.json === true, terminal)
  if (!isAddress && (await beginsAsTlogProof(subject)))
    return judgeTlogProof(subject, options.hash, brought, options.json === true, terminal)
  const report = isAddress
    ? await overHttp(subject, options, brought, terminal)
    : await ofFile(subject, options, brought, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (options.json) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}
