/** What following the registry came to: the slots of the tenant's trails, one line of the report, what is kept of it. */
import {
  type Checkpoint,
  formatVkey,
  MERGE_DELAY_MS,
  type VerifierKey,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { asFailure, ServerRefused } from '../../remote.ts'
import { plural } from '../../terminal.ts'
import { keysFor } from '../brought/brought.ts'
import { nodeSha256 } from '../node-hash.ts'
import { type Extra, stateOf } from '../report.ts'
import { failed, type RegistryFinding, unchecked } from './finding.ts'
import type { Registry, SlotHead } from './registry.ts'

/** Heads that epochs bind for one trail. */
export function headsOf(
  registry: Registry | RegistryFinding | undefined,
  origin: string,
): (SlotHead & { readonly body: Checkpoint })[] {
  if (registry === undefined || !('heads' in registry)) return []
  return registry.heads.flatMap((head) => {
    const { body } = head
    return 'origin' in body && body.origin === origin ? [{ ...head, body }] : []
  })
}

/**
 * Slots that hold a trail which the tenant is not said to have, or that are not shown though the trail was there.
 * @param openedAt when the tenant's first trail was opened
 */
export function checkSlots(
  registry: Registry,
  origins: readonly string[],
  openedAt: string | undefined,
): { findings: RegistryFinding[]; tooYoung: boolean } {
  const findings: RegistryFinding[] = []
  let tooYoung = false
  for (const { epoch, time, body, isNewest } of registry.heads) {
    if ('origin' in body) {
      if (!origins.includes(body.origin))
        findings.push(failed('slot_taken', `epoch ${epoch} binds ${body.origin}, which is no trail of this tenant`))
      continue
    }
    const isYoung = openedAt !== undefined && Date.parse(time) <= Date.parse(openedAt) + MERGE_DELAY_MS
    if (!isYoung)
      findings.push(failed('slot_not_served', `epoch ${epoch} of ${time} has no proof of the slot: ${body.refused}`))
    else tooYoung ||= isNewest
  }
  return { findings, tooYoung }
}

export const TOO_YOUNG = 'the trail is too young to be in an epoch of the registry: ask again in two minutes'

/** The registry's line of the report. */
export function registryExtra(
  registry: Registry | RegistryFinding,
  more: readonly RegistryFinding[],
  notes: readonly string[],
): Extra {
  if (!('heads' in registry))
    return { name: 'registry', state: registry.state, sentence: registry.message, findings: [registry], notes: [] }
  const findings = [...registry.findings, ...more]
  const state = stateOf(findings)
  return {
    name: 'registry',
    state,
    sentence: sentenceOf(registry, state, findings),
    findings,
    notes: [...registry.notes, ...notes],
  }
}

function sentenceOf(
  { newest, audits, heads }: Registry,
  state: Extra['state'],
  findings: readonly RegistryFinding[],
): string {
  const epoch = `epoch ${newest?.entry.epoch ?? '–'}`
  const binding =
    audits === 0 ? `${epoch} binds` : `${epoch} and ${plural(audits, 'audit epoch', 'audit epochs')} before it bind`
  const isBound = heads.some(({ body }) => 'origin' in body)
  if (state === 'held') return isBound ? `${binding} exactly this trail` : 'no epoch has to bind this trail yet'
  if (state === 'failed') return 'the registry does not bind what is shown here, or was changed itself'
  return `not checked: ${findings[0]!.message}`
}

/** What the state file keeps of a registry that was verified: its checkpoint, the key in force and those before. */
export async function keptRegistry(
  { origin, note }: Registry,
  keys: readonly VerifierKey[],
): Promise<{ origin: string; vkey: string; succeeded: string[]; checkpoint: string } | undefined> {
  const own = keysFor(keys, origin)
  const { verified } = await verifyNote(verifyEd25519, note, own)
  const [key] = verified
  if (key === undefined) return undefined
  const vkeys = [...new Set([key, ...own].map(({ publicKey }) => formatVkey(nodeSha256, origin, publicKey)))]
  return { origin, vkey: vkeys[0]!, succeeded: vkeys.slice(1), checkpoint: note }
}

/** A registry that cannot be asked leaves the rest to be checked. */
export function registryFailure(error: unknown): RegistryFinding {
  const failure = error instanceof ServerRefused ? asFailure(error, 2) : error
  if (!(failure instanceof Failure)) throw error
  return unchecked('registry_unreadable', failure.message)
}
