/** `affidavit verify` after its arguments were read: brings together what is checked and what it is held against. */
import {
  type Checkpoint,
  EXIT_CODES,
  formatVkey,
  NoteError,
  type PackReader,
  parseCheckpoint,
  parseNote,
  type VerifierKey,
  verifyEd25519,
  verifyNote,
  verifyPack,
} from '@affidavit/trail'
import { keyFor, serverUrl } from '../config.ts'
import { Failure } from '../failure.ts'
import { asFailure, Remote } from '../remote.ts'
import { count, progressLine, say, type Terminal } from '../terminal.ts'
import { checkColumns, type DeepResult } from './deep.ts'
import { Expected } from './expected.ts'
import { type Kept, readCheckpoint, readVkeys, State } from './kept.ts'
import { verifyLive } from './live.ts'
import { nodeSha256 } from './node-hash.ts'
import { withPack } from './pack-file.ts'
import { outcomeOf, printReport, printReportJson, type Report } from './report.ts'
import { ServerLog, type TrailInfo, trailOf } from './server-log.ts'

export interface VerifyArguments {
  readonly tenant?: string
  readonly key?: string
  readonly vkey?: readonly string[]
  readonly checkpoint?: string
  readonly state?: string
  readonly deep?: boolean
  readonly deepValues?: number
  readonly json?: boolean
}

/** What the verifier brings along. */
interface Brought {
  readonly vkeys: readonly VerifierKey[]
  readonly checkpoint: Kept | undefined
  readonly state: State | undefined
}

/** Verifies a pack file or a server's trail, prints the report. @returns the exit code */
export async function runVerify(subject: string, options: VerifyArguments, terminal: Terminal): Promise<number> {
  const brought: Brought = {
    vkeys: readVkeys(options.vkey ?? []),
    checkpoint: options.checkpoint === undefined ? undefined : await readCheckpoint(options.checkpoint),
    state: options.state === undefined ? undefined : await State.load(options.state),
  }
  await checkBrought(brought)
  const report = /^https?:\/\//.test(subject)
    ? await overHttp(subject, options, brought, terminal)
    : await ofFile(subject, options, brought, terminal)
  const exitCode = EXIT_CODES[outcomeOf(report)]
  if (options.json) printReportJson(report, exitCode, terminal)
  else printReport(report, terminal)
  return exitCode
}

/** What was brought must agree with itself before anybody is accused by it. */
async function checkBrought({ vkeys, checkpoint }: Brought): Promise<void> {
  if (vkeys.length === 0 || checkpoint === undefined) return
  const { verified } = await verifyNote(verifyEd25519, checkpoint.note, vkeys).catch((error: unknown) => {
    if (error instanceof NoteError) return { verified: [] }
    throw error
  })
  if (verified.length === 0)
    throw new Failure(`${checkpoint.label} is not signed by the key given. One of the two is not of this trail.`)
}

/** Verifies a pack with nothing from outside, as `affidavit pack` does with what it wrote. */
export async function verifyPackFile(path: string, terminal: Terminal): Promise<Report> {
  return ofFile(path, {}, { vkeys: [], checkpoint: undefined, state: undefined }, terminal)
}

async function ofFile(path: string, options: VerifyArguments, brought: Brought, terminal: Terminal): Promise<Report> {
  if (options.tenant !== undefined || options.key !== undefined || options.deep)
    throw new Failure('--tenant, --key and --deep are for servers; a pack is checked without one.')
  return withPack(path, async (pack) => {
    const { manifest } = pack
    const held = holdAgainst(brought, manifest.origin)
    const kept = held.kept.filter(({ size }) => size <= manifest.size || brought.state === undefined).at(-1)
    const bar = progressLine(terminal)
    const verification = await verifyPack(pack, {
      hash: nodeSha256,
      verify: verifyEd25519,
      ...(held.vkeys !== undefined && { vkeys: held.vkeys }),
      ...(kept !== undefined && { kept }),
      progress: (done, phase) => bar.update(() => `${phase}: ${count(done)}`),
    })
    bar.clear()
    const note = await pack.text('checkpoint')
    const checkpoint = readNote(note)
    const covered = manifest.ranges.reduce((sum, { from, to }) => sum + to - from, 0)
    const notes = [...held.notes]
    if (covered < manifest.size) notes.push(`the pack covers ${ranges(pack)} of ${count(manifest.size)} entries`)
    if (held.kept.some((one) => one !== kept)) notes.push('a kept checkpoint is newer than the pack: its key was used')
    const keys = held.vkeys ?? (await packKeys(pack))
    if (verification.outcome === 'held' && !held.kept.some(({ size }) => size > manifest.size))
      notes.push(...(await remember(brought, { origin: manifest.origin, note, keys })))
    return {
      subject: subjectOf(path, { ...manifest, covered }, checkpoint, held),
      verification,
      notes,
    }
  })
}

function ranges({ manifest }: PackReader): string {
  const shown = manifest.ranges.slice(0, 3).map(({ from, to }) => `${from} to ${to - 1}`)
  return `${shown.join(', ')}${manifest.ranges.length > 3 ? ' …' : ''}`
}

async function packKeys(pack: PackReader): Promise<VerifierKey[]> {
  return readVkeys((await pack.text('vkeys')).split('\n').slice(0, -1))
}

async function overHttp(
  address: string,
  options: VerifyArguments,
  brought: Brought,
  terminal: Terminal,
): Promise<Report> {
  const { url, tenant } = placeOf(address, options.tenant)
  const remote = new Remote({ url, key: keyFor(url, options.key, terminal.environment) })
  if (remote.isExposed) say(terminal, `${url} is not encrypted: the key and all events can be read on the way.`)
  const log = new ServerLog(remote, tenant)
  try {
    return await ofTrail(log, await log.info(), options, brought, terminal)
  } catch (error) {
    throw asFailure(error, 2)
  }
}

async function ofTrail(
  log: ServerLog,
  info: TrailInfo,
  options: VerifyArguments,
  brought: Brought,
  terminal: Terminal,
): Promise<Report> {
  const place = { url: log.remote.url, tenant: log.tenant }
  const held = holdAgainst(brought, info.origin)
  const bar = progressLine(terminal)
  const expected = options.deep ? new Expected(options.deepValues) : undefined
  const { verification, checkpoint, note } = await verifyLive(log, info, {
    hash: nodeSha256,
    ...(held.vkeys !== undefined && { vkeys: held.vkeys }),
    kept: held.kept,
    originBefore: brought.state?.originAt(place),
    now: Date.now(),
    progress: (done, of, phase) => bar.update(() => `${phase}: ${count(done)} of ${count(of)}`),
    ...(expected && { onPayload: (...entry: Parameters<Expected['add']>) => expected.add(...entry) }),
  })
  const trail = trailOf(checkpoint)!
  let deep: DeepResult | undefined
  if (expected !== undefined) {
    deep = await checkColumns({
      log,
      trail,
      size: checkpoint.size,
      expected,
      progress: (done, of, filter) => bar.update(() => `filters: ${count(done)} of ${count(of)} ${filter}`),
    })
  }
  bar.clear()
  const notes = [...held.notes]
  if (outcomeOf({ verification, deep }) === 'held') {
    const keys = held.vkeys ?? readVkeys([info.vkey])
    notes.push(...(await remember(brought, { origin: checkpoint.origin, note, keys, place })))
  }
  const size = { origin: checkpoint.origin, size: checkpoint.size, covered: checkpoint.size }
  return {
    subject: subjectOf(`${log.remote.url}, tenant ${log.tenant}`, size, checkpoint, held),
    verification,
    deep,
    notes,
  }
}

/** `https://host/v1/trails/org_1` names its tenant; `https://host` needs `--tenant`. */
export function placeOf(address: string, option: string | undefined): { url: string; tenant: string } {
  const whole = serverUrl(address)
  const match = /^(.*)\/v1\/trails\/([^/]+)$/.exec(whole)
  const named = match === null ? undefined : decodeURIComponent(match[2]!)
  if (named !== undefined && option !== undefined && named !== option)
    throw new Failure(`The address names the tenant ${named}, --tenant names ${option}.`)
  const tenant = option ?? named
  if (tenant === undefined) throw new Failure('Name the tenant whose trail is to be checked: --tenant ID.')
  return { url: match?.[1] ?? whole, tenant }
}

interface Held {
  /** Undefined: no key from outside. */
  readonly vkeys: readonly VerifierKey[] | undefined
  /** Ascending by size. */
  readonly kept: readonly Kept[]
  readonly against: readonly string[]
  readonly notes: readonly string[]
}

/** What of the things brought concerns this trail. */
function holdAgainst({ vkeys, checkpoint, state }: Brought, origin: string): Held {
  const known = state?.of(origin)
  const kept = [...(checkpoint === undefined ? [] : [checkpoint]), ...(known === undefined ? [] : [known.kept])]
  const against: string[] = []
  const notes: string[] = []
  if (vkeys.length > 0) against.push('the key given')
  else if (known !== undefined) against.push('the key of the first visit')
  for (const one of kept) against.push(`${one.label} (size ${count(one.size)})`)
  if (state !== undefined && known === undefined)
    notes.push('this is the first visit: nothing was kept before to compare with')
  return {
    vkeys: vkeys.length > 0 ? vkeys : known?.keys,
    kept: kept.sort((a, b) => a.size - b.size),
    against,
    notes,
  }
}

interface Verified {
  readonly origin: string
  readonly note: string
  readonly keys: readonly VerifierKey[]
  readonly place?: { readonly url: string; readonly tenant: string }
}

/** Keeps the verified checkpoint and its key in the state file, if there is one. @returns notes */
async function remember({ state }: Brought, { origin, note, keys, place }: Verified): Promise<string[]> {
  if (state === undefined) return []
  const { verified } = await verifyNote(verifyEd25519, note, keys)
  const key = verified.find(({ name }) => name === origin)
  if (key === undefined) return []
  await state.keep(origin, formatVkey(nodeSha256, key.name, key.publicKey), note, place)
  return ['the checkpoint was kept in the state file; the next run compares with it']
}

function readNote(note: string): Checkpoint | undefined {
  try {
    return parseCheckpoint(parseNote(note).text)
  } catch {
    return undefined // the signature verdict says why
  }
}

function subjectOf(
  name: string,
  { origin, size, covered }: { origin: string; size: number; covered: number },
  checkpoint: Checkpoint | undefined,
  { against }: Held,
): Report['subject'] {
  const root = checkpoint === undefined ? {} : { root: Buffer.from(checkpoint.root).toString('hex') }
  return { name, origin, size, ...root, covered, against }
}
