/** Whom the verifier believes besides itself: a policy file (C2SP tlog-policy), or witnesses named one by one. */
import { FormatError, makePolicy, NoteError, parsePolicy, type TrustPolicy } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { readDocument } from '../given.ts'
import { nodeSha256 } from '../node-hash.ts'

export interface PolicyArguments {
  readonly policy?: string
  readonly witness?: readonly string[]
  readonly quorum?: number
}

/** Undefined when nothing was given. Throws Failure. */
export async function readPolicy({ policy, witness, quorum }: PolicyArguments): Promise<TrustPolicy | undefined> {
  if (policy !== undefined) {
    if (witness !== undefined || quorum !== undefined)
      throw new Failure('Give either --policy or --witness with --quorum: a policy file names its witnesses itself.')
    const bytes = await readDocument(policy)
    return parsed(policy, () => parsePolicy(nodeSha256, bytes))
  }
  if (witness === undefined) {
    if (quorum !== undefined) throw new Failure('--quorum says how many of the --witness keys are needed: give those.')
    return undefined
  }
  if (quorum !== undefined && quorum > witness.length)
    throw new Failure(`--quorum ${quorum} cannot be met by ${witness.length} witness(es).`)
  const rule = { logs: [], witnesses: [...witness], ...(quorum !== undefined && { quorum }) }
  return parsed('--witness', () => makePolicy(nodeSha256, rule))
}

function parsed(name: string, parse: () => TrustPolicy): TrustPolicy {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof NoteError)) throw error
    const joint = error instanceof FormatError && error.line !== undefined ? ', ' : ': '
    throw new Failure(`${name}${joint}${error.message}.`, 2, { cause: error })
  }
}
