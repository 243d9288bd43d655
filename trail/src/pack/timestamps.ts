/**
 * Timestamps in a pack: an authority outside vouches that a checkpoint of the registry existed at a time, and that
 * checkpoint binds this trail's first entries. Worth something only under certificates that the verifier brings.
 */
import { parseCheckpoint } from '../note/checkpoint.ts'
import { parseNote } from '../note/note.ts'
import { parseTlogProof } from '../proof/tlog-proof.ts'
import {
  type CheckedTimestamp,
  type TimestampFlaw,
  type TimestampOptions,
  verifyTimestamp,
} from '../timestamp/timestamp.ts'
import type { Anchor, Findings } from '../walk/verdict.ts'
import type { Manifest } from './manifest.ts'
import type { PackReader } from './reader.ts'
import {
  type Bound,
  checkBound,
  isRegistryOf,
  type RegistryPaths,
  type RegistryTrust,
  readAs,
  type WalkedTrail,
} from './registry.ts'

/** The clocks of server and authority may differ by so much: the server keeps no token that is further off. */
export const TIMESTAMP_SKEW_MS = 600_000

/** The members of the timestamp numbered `n`. Those of the registry's proof are there all four or not at all. */
export function anchorPaths(n: number): RegistryPaths & { readonly checkpoint: string; readonly token: string } {
  const path = (name: string) => `anchors/${n}.${name}`
  return {
    checkpoint: path('checkpoint'),
    token: path('tsr'),
    epoch: path('epoch'),
    proof: path('tlog-proof'),
    slot: path('slot'),
    consistency: path('consistency'),
  }
}

const TOKEN = /^anchors\/([1-9][0-9]{0,14})\.tsr$/

/** Numbers of the timestamps that a pack carries. */
export function timestampsIn({ optional }: Pick<Manifest, 'optional'>): number[] {
  return optional.flatMap((path) => {
    const match = TOKEN.exec(path)
    return match === null ? [] : [Number(match[1])]
  })
}

export interface TimestampResult {
  readonly anchors: readonly Anchor[]
  readonly notes: readonly string[]
  /** Members that were looked at. */
  readonly known: readonly string[]
}

/** @param options undefined: no authority is trusted, so nothing is checked. Throws PackError */
export async function checkTimestamps(
  pack: PackReader,
  trail: WalkedTrail,
  trust: RegistryTrust,
  options: TimestampOptions | undefined,
  findings: Findings,
): Promise<TimestampResult> {
  const numbers = timestampsIn(pack.manifest)
  if (options === undefined)
    return {
      anchors: [],
      notes: numbers.map(
        (n) => `${anchorPaths(n).token} is present, not checked: give its authority's certificate, --tsa-ca`,
      ),
      known: numbers.flatMap((n) => Object.values(anchorPaths(n))),
    }
  const results: (Stamped | OpenTimestamp)[] = []
  for (const n of numbers) results.push(...(await new TimestampCheck(pack, n, trail, trust, findings).run(options)))
  const anchors = results.filter((result) => 'kind' in result)
  const open = results.filter((result) => 'code' in result)
  if (anchors.length === 0) {
    if (numbers.length === 0) open.push({ code: 'no_timestamp', message: 'the pack has no timestamp' })
    for (const { code, message } of open) findings.cannotCheck('anchors', code, message)
  }
  const told = anchors.map(
    ({ authority, entries, time }) => `${authority} vouches that the first ${entries} entries were there at ${time}`,
  )
  told.push(...unstamped(anchors, pack.manifest.ranges.at(-1)!.to))
  const beside = anchors.length === 0 ? [] : open.map(({ message }) => message)
  return { anchors, notes: [...told, ...beside], known: numbers.flatMap((n) => Object.values(anchorPaths(n))) }
}

/** Says of which of the first `size` entries timestamps that hold say nothing. */
export function unstamped(anchors: readonly { readonly entries: number }[], size: number): string[] {
  const newest = Math.max(0, ...anchors.map(({ entries }) => entries))
  if (anchors.length === 0 || newest >= size) return []
  return [`entries from ${newest} on are newer than the timestamps: no authority vouches for them`]
}

type Stamped = Anchor & { kind: 'timestamp' }

/** A token that says nothing, neither for the log nor against it. */
export interface OpenTimestamp {
  readonly code: string
  readonly message: string
}

/** A token with one of these proves nothing to this verifier; with any other it is false. */
export const OPEN_FLAWS: readonly TimestampFlaw[] = ['untrusted', 'expired', 'unsupported']

class TimestampCheck {
  private readonly pack: PackReader
  private readonly paths: ReturnType<typeof anchorPaths>
  private readonly trail: WalkedTrail
  private readonly trust: RegistryTrust
  private readonly findings: Findings

  constructor(pack: PackReader, n: number, trail: WalkedTrail, trust: RegistryTrust, findings: Findings) {
    this.pack = pack
    this.paths = anchorPaths(n)
    this.trail = trail
    this.trust = trust
    this.findings = findings
  }

  /** Nothing where it made a finding. */
  async run(options: TimestampOptions): Promise<(Stamped | OpenTimestamp)[]> {
    const { paths, pack } = this
    const verdict = await verifyTimestamp(await pack.read(paths.token), await pack.read(paths.checkpoint), options)
    if (verdict.outcome !== 'held') {
      const { code } = verdict
      const message = `${paths.token}: ${verdict.message}`
      if (OPEN_FLAWS.includes(code)) return [{ code: `timestamp_${code}`, message }]
      return this.fail(`timestamp_${code}`, message)
    }
    const bound = await this.bound(verdict)
    if (bound === undefined) return []
    if ('code' in bound) return [bound]
    if (!this.isInTime(bound, verdict)) return []
    const { time, accuracyMs, authority } = verdict
    const { entry, body } = bound
    const about = { time: new Date(time).toISOString(), accuracyMs, authority, epoch: entry.epoch, entries: body.size }
    return [{ kind: 'timestamp', path: paths.token, ...about }]
  }

  private fail(code: string, message: string): [] {
    this.findings.fail('anchors', code, message)
    return []
  }

  /** What the stamped checkpoint binds of this trail. */
  private async bound({ time }: CheckedTimestamp): Promise<Bound | OpenTimestamp | undefined> {
    const { pack, paths } = this
    const { origin, size } = await readAs(pack, paths.checkpoint, (note) => parseCheckpoint(parseNote(note).text))
    const stamped = `${paths.token} is over the checkpoint of ${origin} with ${size} entries, of ${new Date(time).toISOString()}`
    if (!isRegistryOf(origin, this.trail.checkpoint.origin)) {
      this.fail('other_registry', `${stamped}: that is another log's`)
      return undefined
    }
    if (!pack.has(paths.proof)) {
      const message = `${stamped}; the pack does not show what that binds of this trail`
      return { code: 'timestamp_unbound', message }
    }
    const { checkpoint } = await readAs(pack, paths.proof, parseTlogProof)
    if (checkpoint !== (await pack.text(paths.checkpoint))) {
      this.fail('other_checkpoint', `${paths.proof} is under another checkpoint than the stamped one`)
      return undefined
    }
    return checkBound(pack, paths, this.trail, this.trust, this.findings)
  }

  /** What the checkpoint covers was sealed before it was stamped. */
  private isInTime({ body }: Bound, { time, accuracyMs }: CheckedTimestamp): boolean {
    const { below } = this.trail.times.at(body.size)
    if (below === undefined || Date.parse(below.sealedAt) <= time + accuracyMs + TIMESTAMP_SKEW_MS) return true
    const message =
      `entry ${below.seq} says that it was sealed at ${below.sealedAt}, ` +
      `but ${this.paths.token} shows that it was there at ${new Date(time).toISOString()}`
    this.findings.fail('time', 'sealed_after_timestamp', message, below.seq)
    return false
  }
}
