/**
 * The verifier as one file without a dependency (`affidavit-verify.mjs`): packs only, offline, Node ≥ 20. It is the code
 * behind `affidavit verify`, bundled; there is no second verifier that could disagree.
 */
import { parseArgs } from 'node:util'
import { EXIT_CODES } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { print, say, type Terminal } from '../../terminal.ts'
import { bring, type VerifyArguments } from '../brought/brought.ts'
import { DURATION_EXPECTED, parseDuration } from '../brought/duration.ts'
import { outcomeOf, printReport, printReportJson } from '../report.ts'
import { beginsAsAccusation, judgeAccusation } from './of-accusation.ts'
import { ofFile } from './of-pack.ts'
import { beginsAsTlogProof, judgeTlogProof } from './of-tlog-proof.ts'

const USAGE = `Checks an evidence pack of an Affidavit audit log, offline. Nothing is sent anywhere.

  node affidavit-verify.mjs PACK.zip [options]

  --vkey KEY         verifier key that must have signed, from a contract; repeat for more
  --checkpoint FILE  checkpoint kept earlier: the log must have grown from it; repeat for more
  --state FILE       keep the newest verified checkpoint and key in this file, and compare with it
  --policy FILE      witnesses that must have cosigned (C2SP tlog-policy)
  --witness KEY      a witness that must have cosigned; repeat for more
  --quorum N         so many of the witnesses are enough
  --max-age TIME     how much older than the last entry the cosignatures may be, as 15m, 2h, 1d (default: 1h)
  --tsa-ca FILE      certificates (PEM) of whom timestamps in the pack are believed; repeat for more
  --hash HEX         for a .tlog-proof file: the entry that it is for
  --json             print the report as JSON

Exit codes: 0 all held, 1 evidence of tampering, 2 could not be checked.`

const text = { type: 'string' } as const
const list = { type: 'string', multiple: true } as const
const flag = { type: 'boolean' } as const
const OPTIONS = {
  vkey: list,
  checkpoint: list,
  state: text,
  policy: text,
  witness: list,
  quorum: text,
  'max-age': text,
  'tsa-ca': list,
  hash: text,
  json: flag,
  help: { ...flag, short: 'h' },
} as const

/** Runs one command line (without node and script). @returns the exit code */
export async function runSingleFile(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const { positionals, values } = readArguments(args)
    const [path, ...others] = positionals
    if (values.help || path === undefined) {
      print(terminal, USAGE)
      return values.help ? 0 : 2
    }
    if (others.length > 0) throw new Failure('One file at a time is checked.')
    return await verifyFile(path, argumentsOf(values), terminal)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    say(terminal, `affidavit-verify: ${error.message}`)
    return error.exitCode
  }
}

function readArguments(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new Failure(`${(error as Error).message.split('. ')[0]}. --help tells what there is.`)
  }
}

function argumentsOf(values: ReturnType<typeof readArguments>['values']): VerifyArguments {
  const { quorum, help: _, 'tsa-ca': tsaCa, 'max-age': age, ...others } = values
  const maxAge = age === undefined ? undefined : parseDuration(age)
  if (age !== undefined && maxAge === undefined) throw new Failure(`--max-age: ${DURATION_EXPECTED}`)
  const rest = { ...others, ...(tsaCa && { tsaCa }), ...(maxAge !== undefined && { maxAge }) }
  if (quorum === undefined) return rest
  if (!/^\d{1,3}$/.test(quorum)) throw new Failure('--quorum: a number is expected.')
  return { ...rest, quorum: Number(quorum) }
}

async function verifyFile(path: string, options: VerifyArguments, terminal: Terminal): Promise<number> {
  const brought = await bring(options)
  const asJson = options.json === true
  if (await beginsAsAccusation(path)) return judgeAccusation(path, brought, asJson, terminal)
  if (await beginsAsTlogProof(path)) return judgeTlogProof(path, options.hash, brought, asJson, terminal)
  const report = await ofFile(path, options, brought, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (asJson) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}
