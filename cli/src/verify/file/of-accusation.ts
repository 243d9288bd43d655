/**
 * `affidavit verify FILE` for an accusation: what the log signed first against what it signed later. The file may come
 * from anybody; only the keys that the verifier brings decide whether it convicts.
 */
import { FormatError, isAccusation, parseAccusation, verifyAccusation, verifyEd25519 } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { painter, print, printable, printJson, type Terminal } from '../../terminal.ts'
import type { Brought } from '../brought/brought.ts'
import { beginningOf, readDocument } from '../given.ts'
import { nodeSha256 } from '../node-hash.ts'

const BEGINNING = 64

/** Whether a file begins like an accusation. False for what cannot be read: whoever opens it next says why. */
export async function beginsAsAccusation(path: string): Promise<boolean> {
  return isAccusation(await beginningOf(path, BEGINNING))
}

/**
 * Exit code 1: the log is convicted. 2: the file proves nothing, to whoever holds these keys. Never 0: an accusation
 * that fails says nothing in favour of the log.
 */
export async function judgeAccusation(
  path: string,
  { vkeys, checkpoints, state }: Brought,
  json: boolean,
  terminal: Terminal,
): Promise<1 | 2> {
  if (checkpoints.length > 0) throw new Failure('An accusation brings its own checkpoints; give --vkey or --state.')
  const accusation = parsed(await readDocument(path), path)
  const keys = [...vkeys, ...(state?.keys() ?? [])]
  if (keys.length === 0)
    throw new Failure(
      'Name the log key from your contract or set-up link, --vkey KEY, or --state FILE: no key, no judgement.',
    )
  const verdict = await verifyAccusation(nodeSha256, verifyEd25519, accusation, keys)
  const exitCode = verdict.outcome === 'proven' ? 1 : 2
  if (json) printJson(terminal, { kind: accusation.kind, ...verdict, exit_code: exitCode })
  else {
    const paint = painter(terminal.stdout, terminal.environment)
    const message = printable(verdict.message)
    if (verdict.outcome === 'proven') {
      print(terminal, `Log       ${printable(verdict.origin)}`)
      print(terminal, paint('bold', `PROVEN: the log broke its word: ${message}.`))
    } else print(terminal, paint('bold', `NOT PROVEN (${verdict.code}): ${message}.`))
  }
  return exitCode
}

function parsed(bytes: Uint8Array, path: string) {
  try {
    return parseAccusation(bytes)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw new Failure(`${path} is no accusation that can be read: ${error.message} [${error.code}].`, 2, {
      cause: error,
    })
  }
}
