/** Verifies a pack file: offline, with what the verifier brings along. */
import { type PackReader, readableVkeys, verifyEd25519, verifyPack } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { count, progressLine, type Terminal } from '../../terminal.ts'
import {
  type Brought,
  holdAgainst,
  KEPT_NOTE,
  keptAgainst,
  NOTHING,
  readNote,
  remember,
  subjectOf,
  type VerifyArguments,
} from '../brought/brought.ts'
import type { Kept } from '../brought/kept.ts'
import { nodeSha256 } from '../node-hash.ts'
import type { Extra, Report } from '../report.ts'
import { withPack } from './pack-file.ts'
import { keepYoungHeapSmall } from './young-heap.ts'

/** Verifies a pack with nothing from outside, as `affidavit pack` does with what it wrote. */
export async function verifyPackFile(path: string, terminal: Terminal): Promise<Report> {
  return ofFile(path, {}, NOTHING, terminal)
}

/** Throws Failure for a file that could not be checked. */
export async function ofFile(
  path: string,
  options: VerifyArguments,
  brought: Brought,
  terminal: Terminal,
): Promise<Report> {
  if (options.tenant !== undefined || options.key !== undefined || options.deep)
    throw new Failure('--tenant, --key and --deep are for servers; a pack is checked without one.')
  keepYoungHeapSmall()
  return withPack(path, async (pack) => {
    const { manifest } = pack
    const held = holdAgainst(brought, manifest.origin)
    const isOther = ({ origin }: Kept) => origin !== manifest.origin
    const isNewer = (one: Kept) => !isOther(one) && one.size > manifest.size
    const own = held.kept.every(isOther) ? held.kept : held.kept.filter((one) => !isOther(one))
    // Who keeps a state will see packs that are older than it.
    const kept = brought.state === undefined ? own : own.filter((one) => !isNewer(one))
    const bar = progressLine(terminal)
    const verification = await verifyPack(pack, {
      hash: nodeSha256,
      verify: verifyEd25519,
      ...(held.vkeys !== undefined && { vkeys: held.vkeys }),
      kept,
      ...(brought.policy !== undefined && { policy: brought.policy }),
      ...(brought.timestamps !== undefined && { timestamps: brought.timestamps }),
      ...(options.maxAge !== undefined && { maxAgeMs: options.maxAge * 1000 }),
      progress: (done, phase) => bar.update(() => `${phase}: ${count(done)}`),
    })
    bar.clear()
    const note = await pack.text('checkpoint')
    const checkpoint = readNote(note)
    const covered = manifest.ranges.reduce((sum, { from, to }) => sum + to - from, 0)
    const notes = [...held.notes]
    if (covered < manifest.size) notes.push(`the pack covers ${ranges(pack)} of ${count(manifest.size)} entries`)
    if (own.length < held.kept.length)
      notes.push('checkpoints of other trails were brought, too: nothing was held against them')
    if (kept.length < own.length) notes.push('a kept checkpoint is newer than the pack: only its key was used')
    const skipped = keptAgainst(held.kept.filter((one) => !kept.includes(one)))
    const against = held.against.filter((name) => !skipped.includes(name))
    const other = brought.state?.besides(manifest.origin)
    const keys = held.vkeys ?? readableVkeys(nodeSha256, (await pack.text('vkeys')).split('\n'))
    const isNewest = !held.kept.some(isNewer)
    if (
      verification.outcome === 'held' &&
      isNewest &&
      other === undefined &&
      (await remember(brought.state, { origin: manifest.origin, note, keys }))
    ) {
      await brought.state!.save()
      notes.push(KEPT_NOTE)
    }
    return {
      subject: subjectOf(path, { ...manifest, covered }, checkpoint, { against }),
      verification,
      ...(other !== undefined && { extras: [otherTrail(other)] }),
      notes,
    }
  })
}

/** A tenant has one trail at a time: which of two goes on where the other ended, one pack cannot show. */
function otherTrail(origin: string): Extra {
  const message = `the state file knows another trail of this tenant, ${origin}: one of the two must continue the other, which a visit to the server shows`
  const finding = { verdict: 'trails', state: 'unchecked', code: 'other_trail', message } as const
  return { name: 'trails', state: 'unchecked', sentence: `not checked: ${message}`, findings: [finding], notes: [] }
}

function ranges({ manifest }: PackReader): string {
  const shown = manifest.ranges.slice(0, 3).map(({ from, to }) => `${from} to ${to - 1}`)
  return `${shown.join(', ')}${manifest.ranges.length > 3 ? ' …' : ''}`
}
