/**
 * `affidavit verify FILE --hash HEX` for a `.tlog-proof` file (C2SP tlog-proof): whether the entry of that hash stands in
 * a log whose key, or policy, the verifier brings.
 */
import {
  COSIGNATURE,
  FormatError,
  fromHex,
  parseNote,
  parseTlogProof,
  type TlogProof,
  type TrustPolicy,
  verifyEd25519,
  verifyTlogProof,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { painter, print, printable, printJson, type Terminal } from '../../terminal.ts'
import { type Brought, keysFor } from '../brought/brought.ts'
import { beginningOf, readDocument } from '../given.ts'
import { nodeSha256 } from '../node-hash.ts'

const BEGINNING = 'c2sp.org/tlog-proof@'

/** Whether a file begins like a proof. False for what cannot be read: whoever opens it next says why. */
export async function beginsAsTlogProof(path: string): Promise<boolean> {
  return (await beginningOf(path, BEGINNING.length)).toString('latin1') === BEGINNING
}

/**
 * Exit code 0: the entry stands in the log. 2: this file does not show it. Never 1: a proof that anybody may have
 * written wrongly says nothing against the log.
 */
export async function judgeTlogProof(
  path: string,
  hash: string | undefined,
  brought: Brought,
  json: boolean,
  terminal: Terminal,
): Promise<0 | 2> {
  const leaf = hash === undefined || !/^[0-9a-f]{64}$/.test(hash) ? undefined : fromHex(hash)
  if (leaf === undefined) throw new Failure('Say which entry the proof is for: --hash HEX, its `hash` in the API.')
  const proof = parsed(await readDocument(path), path)
  const verdict = await verifyTlogProof(nodeSha256, verifyEd25519, proof, leaf, policyFor(proof, brought))
  const exitCode = verdict.outcome === 'held' ? 0 : 2
  if (json) {
    const about = verdict.outcome === 'held' ? { ...describe(proof, verdict) } : { code: verdict.code }
    printJson(terminal, { outcome: verdict.outcome, ...about, exit_code: exitCode })
    return exitCode
  }
  const paint = painter(terminal.stdout, terminal.environment)
  if (verdict.outcome === 'refused') print(terminal, paint('bold', `NOT PROVEN: ${WHY[verdict.code]}.`))
  else {
    const { origin, index, size, cosigned } = describe(proof, verdict)
    print(terminal, `Log       ${printable(origin)}`)
    for (const { name, at } of cosigned) print(terminal, `Witness   ${printable(name)}, ${at}`)
    print(terminal, paint('bold', `PROVEN: the entry stands at ${index} of ${size}.`))
  }
  return exitCode
}

const WHY = {
  signature: 'the checkpoint is malformed, or a key that you named signed it wrongly',
  log: 'no key that you named signed the checkpoint',
  quorum: 'too few of the witnesses that you named cosigned the checkpoint',
  inclusion: 'the proof does not lead from this entry to the root of the checkpoint',
} as const

function describe(
  { index }: TlogProof,
  held: Extract<Awaited<ReturnType<typeof verifyTlogProof>>, { outcome: 'held' }>,
) {
  const { origin, size } = held.checkpoint
  const cosigned = held.cosigned.map(({ name, time }) => ({ name, at: new Date(time * 1000).toISOString() }))
  return { origin, index, size, cosigned }
}

/**
 * The policy brought, with the keys brought as logs; one log key signs all logs of a deployment. Witnesses see only the
 * registry: a policy that names that log asks for no cosignatures on a trail.
 */
function policyFor({ checkpoint }: TlogProof, { vkeys, state, policy }: Brought): TrustPolicy {
  const origin = parseNote(checkpoint).text.split('\n')[0]!
  const named = policy?.logs.map(({ key }) => key) ?? []
  const keys = [...named, ...vkeys, ...(state?.keys() ?? [])].filter(({ type }) => type !== COSIGNATURE)
  if (keys.length === 0)
    throw new Failure('Name the log key from your contract or set-up link, --vkey KEY, --policy FILE or --state FILE.')
  const logs = keysFor(keys, origin).map((key) => ({ key }))
  const isCosigned = policy !== undefined && (named.length === 0 || named.some(({ name }) => name === origin))
  return isCosigned ? { ...policy, logs } : { logs, witnesses: [], groups: [], quorum: 'none' }
}

function parsed(bytes: Uint8Array, path: string): TlogProof {
  try {
    return parseTlogProof(bytes)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw new Failure(`${path} is no proof that can be read: ${error.message} [${error.code}].`, 2, { cause: error })
  }
}
