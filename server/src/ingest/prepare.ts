// From a split event, its people and its numbers to what a lane takes: commitments, terms and columns. Pure.

import type { PersonalLine } from '@affidavit/trail'
import { categories } from '../catalog/category.ts'
import { type TermKey, termKey } from '../filter/hash.ts'
import { collectTerms } from '../filter/terms.ts'
import { encryptConfidential } from '../keys/confidential.ts'
import { fillRandom } from '../keys/fill-random.ts'
import type { ResolvedLine } from '../keys/subjects.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import { flag, type Sealable, sealable } from '../store/sealable.ts'
import type { Tenant as AnyTenant } from '../tenants/tenants.ts'
import { commitment } from './commitments.ts'
import { type NormalEvent, outcomes } from './event.ts'
import { fingerprint } from './normalise.ts'
import { randomSalt } from './salts.ts'
import { maxLines, type Split } from './split.ts'

type Tenant = AnyTenant<TenantKeys>

export interface Prepared {
  readonly event: NormalEvent
  readonly split: Split
  readonly tenant: Tenant
  readonly id: string
  readonly clientId: boolean
  readonly action: number
  readonly keyEpoch: number
  /** The actor's subject, if the actor is somebody. */
  readonly actor: number | null
  /** One per personal line, in order. */
  readonly lines: readonly ResolvedLine[]
}

const termKeys = new WeakMap<Uint8Array, TermKey>()

function termKeyOf(tenant: Tenant): TermKey {
  let key = termKeys.get(tenant.keys.termKey)
  if (key === undefined) {
    key = termKey(tenant.keys.termKey)
    termKeys.set(tenant.keys.termKey, key)
  }
  return key
}

/** Bytes of one line in the column `personal`: subject, persona, commitment. */
const personalLineBytes = 48

// Everything here runs to its end in one call, so one of each serves all events: a row is a copy.
const factsSalt = Buffer.alloc(16)
const personalColumn = Buffer.alloc(personalLineBytes * maxLines)
const personalNumbers = new DataView(personalColumn.buffer, personalColumn.byteOffset, personalColumn.length)

/** Everything of an entry and a row that does not depend on the place in the trail. */
export function prepare(prepared: Prepared): Sealable {
  const { event, split, tenant, lines } = prepared
  fillRandom(factsSalt)
  const personal = personalLines(split, lines)
  const confidential = split.confidential === undefined ? undefined : sealConfidential(tenant, split.confidential)
  const operator = split.operator === undefined ? undefined : sealOperator(split.operator)
  const terms = collectTerms(termKeyOf(tenant), {
    facts: split.stored,
    sessionId: event.context?.session_id ?? null,
    actor: prepared.actor,
    lines,
  })
  const entry = {
    body: bodies.get(event.category)!,
    facts: commitment('facts', factsSalt, split.facts),
    confidential: confidential?.commitment,
    operator: operator?.commitment,
    personal,
  }
  return sealable(tenant.trail, prepared.keyEpoch, entry, {
    factsSalt,
    id: tenant.keys.idToken(prepared.id),
    bodyDigest: prepared.clientId ? tenant.keys.bodyToken(fingerprint(event)) : null,
    occurredAt: event.occurredMs,
    actor: prepared.actor,
    action: prepared.action,
    category: categories.indexOf(event.category) + 1,
    outcome: outcomes.indexOf(event.outcome),
    flags:
      (terms.complete ? flag.termsComplete : 0) |
      (event.actor.internal === true ? flag.internal : 0) |
      (prepared.clientId ? flag.clientId : 0) |
      (event.late ? flag.late : 0),
    facts: split.facts,
    personal: lines.length === 0 ? null : personalColumn,
    personalLength: personalLineBytes * lines.length,
    confidential: confidential?.column ?? null,
    operator: operator?.column ?? null,
    control: null,
    terms,
  })
}

const bodies = new Map(categories.map((category) => [category, { event: category }]))

/** The lines' commitments; fills in the column on the way. */
function personalLines(split: Split, lines: readonly ResolvedLine[]): readonly PersonalLine[] {
  if (lines.length === 0) return noLines
  const personal: PersonalLine[] = []
  for (let n = 0; n < lines.length; n++) {
    const line = lines[n]!
    const committed = commitment('personal', line.saltKey!.saltText(factsSalt, n), split.subjects[n]!.content)
    personal.push({ key: line.keyId, commitment: committed })
    const at = n * personalLineBytes
    writeNumber(at, line.subject)
    writeNumber(at + 8, line.persona!)
    personalColumn.write(committed, at + 16, 'base64')
  }
  return personal
}

const noLines: readonly PersonalLine[] = []

function writeNumber(at: number, value: number): void {
  personalNumbers.setUint32(at, Math.floor(value / 0x1_0000_0000))
  personalNumbers.setUint32(at + 4, value % 0x1_0000_0000)
}

function sealConfidential(tenant: Tenant, content: string): { commitment: string; column: Buffer } {
  const salt = randomSalt()
  const committed = commitment('confidential', salt, content)
  const bytes = Buffer.from(committed, 'base64')
  return { commitment: committed, column: Buffer.concat([bytes, salt, encryptConfidential(tenant, bytes, content)]) }
}

function sealOperator(content: string): { commitment: string; column: Buffer } {
  const salt = randomSalt()
  const committed = commitment('operator', salt, content)
  return {
    commitment: committed,
    column: Buffer.concat([Buffer.from(committed, 'base64'), salt, Buffer.from(content)]),
  }
}
