/** A trail against what the registry binds for it, epoch by epoch. */
import { type Checkpoint, equalBytes, MERGE_DELAY_MS } from '@affidavit/trail'
import type { RegistryFinding } from '../registry/finding.ts'
import type { SlotHead } from '../registry/registry.ts'
import type { Roots } from './roots.ts'

export interface HeadParts {
  /** Heads of this trail. */
  readonly heads: readonly (SlotHead & { readonly body: Checkpoint })[]
  readonly checkpoint: Checkpoint
  readonly roots: Roots
  /** When an entry was sealed, of those that stand before and behind the end of a head. */
  readonly sealedAt: (seq: number) => string | undefined
}

/** Every head must be the trail's own past, and must have had whatever was sealed long enough before. */
export function checkHeads({ heads, checkpoint, roots, sealedAt }: HeadParts): RegistryFinding[] {
  const findings: RegistryFinding[] = []
  const fail = (code: string, message: string, seq?: number) =>
    findings.push({ verdict: 'registry', state: 'failed', code, message, ...(seq !== undefined && { seq }) })
  for (const { epoch, time, body, latest } of heads) {
    const { size } = body
    const bound = `epoch ${epoch} of ${time} binds ${size} entries`
    if (size > checkpoint.size) {
      fail(
        'behind_registry',
        `${bound}, the server shows ${checkpoint.size}: the end of the trail is gone`,
        checkpoint.size,
      )
      continue
    }
    const root = size === checkpoint.size ? checkpoint.root : roots.rootAt(size)
    if (root === undefined) {
      const message = `${bound}, whose root cannot be recomputed`
      findings.push({ verdict: 'registry', state: 'unchecked', code: 'not_covered', message })
    } else if (!equalBytes(root, body.root)) fail('forked', `${bound}, but not those that are shown here`)
    const next = sealedAt(size)
    if (next !== undefined && Date.parse(next) < Date.parse(time) - MERGE_DELAY_MS)
      fail('backdated', `entry ${size} says that it was sealed at ${next}, but ${bound} only`, size)
    const last = size > 0 ? sealedAt(size - 1) : undefined
    if (latest !== undefined && last !== undefined && Date.parse(last) > latest)
      fail(
        'sealed_after_timestamp',
        `entry ${size - 1} says that it was sealed at ${last}, after ${bound} under a timestamp`,
        size - 1,
      )
  }
  return findings
}
