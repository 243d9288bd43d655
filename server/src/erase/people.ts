// Whom an erasure means: the subjects of a tenant that stand for one person, by type and id or by e-mail address. The
// address itself is never kept: from here on a request knows only numbers and ids that mean nothing.

import { identityText } from '../keys/identity.ts'
import type { Personas } from '../keys/personas.ts'
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { Queryable } from '../store/database.ts'
import type { Tenant } from '../tenants/tenants.ts'

export type Person =
  | { readonly type: string; readonly id: string; readonly tenant?: string | undefined }
  | { readonly email: string }

/** A subject as requests and control entries name it. */
export interface Subject {
  readonly number: number
  /** Subject key id of entries, 32 hex digits. */
  readonly keyId: string
}

export interface PeopleOptions {
  /** Pools of the roles. */
  readonly ingest: Queryable
  readonly personas: Personas
}

/** Personas of one address at most: more is no person, but a value that many share. */
const maxPersonas = 4_096
/** Of these so much is looked through at a time. */
const bytesAtOnce = 4 * 1024 * 1024
/** Where an address says whose persona it is; elsewhere it may be mentioned by somebody else. */
const own = /^\/(?:actor(?:\/(?:on_behalf_of|impersonator))?|on_behalf_of|impersonator|targets\/\d+)\/(?:email|id)$/

/**
 * In order of their key ids; empty if nobody is known by it, or was erased already. One person may be several subjects:
 * as a user and as a service, with an id here and by address alone there.
 *
 * @throws StoreUnavailable, KeyUnusable
 */
export async function findPerson(
  options: PeopleOptions,
  tenant: Tenant<TenantKeys>,
  person: Person,
): Promise<Subject[]> {
  const found = new Map<number, Subject>()
  const add = (rows: readonly { number: number; key_id: string }[]) => {
    for (const { number, key_id } of rows) found.set(number, { number, keyId: key_id.replaceAll('-', '') })
  }
  add(await byToken(options.ingest, tenant, person))
  if ('email' in person) add(await byAddress(options, tenant, person.email))
  return [...found.values()].sort((a, b) => (a.keyId < b.keyId ? -1 : 1))
}

async function byToken(ingest: Queryable, tenant: Tenant<TenantKeys>, person: Person) {
  const isGuest = 'type' in person && person.tenant !== undefined && person.tenant !== tenant.id
  const identity =
    'email' in person ? person : { type: isGuest ? `${person.type}@${person.tenant}` : person.type, id: person.id }
  const { rows } = await ingest.query<{ number: number; key_id: string }>(
    'select number, key_id from affidavit.subjects where tenant = $1 and token = $2 and erased_at is null',
    [tenant.number, tenant.keys.subjectToken(identityText(identity, 0)).toString('hex')],
  )
  return rows
}

/** Subjects with a persona whose own address it is. */
async function byAddress({ ingest, personas }: PeopleOptions, tenant: Tenant<TenantKeys>, email: string) {
  const { rows } = await ingest.query<{ persona: number }>(
    'select persona from affidavit.persona_tokens where tenant = $1 and token = $2 limit $3',
    [tenant.number, tenant.keys.searchToken(email).toString(), maxPersonas],
  )
  const wanted = fold(email)
  const subjects = new Set<number>()
  for (let left = rows.map(({ persona }) => persona); left.length > 0; ) {
    const opened = await personas.open(tenant, left, bytesAtOnce)
    for (const reading of opened.values()) {
      if (typeof reading !== 'object') continue
      const pairs = JSON.parse(reading.content) as [string, unknown][]
      if (pairs.some(([pointer, value]) => own.test(pointer) && typeof value === 'string' && fold(value) === wanted))
        subjects.add(reading.subject)
    }
    left = left.filter((persona) => !opened.has(persona))
  }
  if (subjects.size === 0) return []
  const { rows: known } = await ingest.query<{ number: number; key_id: string }>(
    'select number, key_id from affidavit.subjects where tenant = $1 and number = any ($2::bigint[]) and erased_at is null',
    [tenant.number, [...subjects]],
  )
  return known
}

const fold = (text: string) => text.normalize('NFKC').trim().toLowerCase()
