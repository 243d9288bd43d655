/** `affidavit verify URL`: a running server's trail, all of its past included. */
import { keyFor, serverUrl } from '../config.ts'
import { Failure } from '../failure.ts'
import { asFailure, Remote } from '../remote.ts'
import { count, progressLine, say, type Terminal } from '../terminal.ts'
import { type Brought, holdAgainst, KEPT_NOTE, remember, subjectOf, type VerifyArguments } from './brought.ts'
import { checkColumns, type DeepResult } from './deep.ts'
import { Expected } from './expected.ts'
import { readVkeys } from './kept.ts'
import { verifyLive } from './live.ts'
import { nodeSha256 } from './node-hash.ts'
import { outcomeOf, type Report } from './report.ts'
import { ServerLog, type TrailInfo, trailOf } from './server-log.ts'

export async function overHttp(
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
    if (await remember(brought.state, { origin: checkpoint.origin, note, keys, place })) {
      await brought.state!.save()
      notes.push(KEPT_NOTE)
    }
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
