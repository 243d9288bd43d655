/**
 * GitHub audit log of an organisation or enterprise, as exported or streamed: one object an entry.
 * https://docs.github.com/en/organizations/keeping-your-organization-secure/managing-security-settings-for-your-organization/audit-log-events-for-your-organization
 *
 * Actions are `github.<action>`: `github.repo.create`.
 */

import type { Category } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import type { JsonObject } from '../parse-record.ts'

export const github = recordFormat({
  name: 'github',
  title: 'GitHub audit log entries',
  // Without a numeric id, the handle stands as the id.
  personalPointers: [
    '/actor/id',
    '/actor/name',
    '/metadata/actor_location',
    '/metadata/external_identity_nameid',
    '/metadata/external_identity_username',
    '/metadata/hashed_token',
    '/metadata/blocked_user',
    '/metadata/invitee',
    '/metadata/p_enrichment',
    '/metadata/p_any_usernames',
    '/metadata/p_any_emails',
    '/metadata/p_any_ip_addresses',
    '/metadata/p_any_actor_ids',
    '/metadata/p_udm',
  ],
  sourceId: ({ _document_id: id }) => (typeof id === 'string' ? { kind: 'shared', id } : { kind: 'none' }),
  map,
})

function map(record: JsonObject): Mapped {
  const action = fit.take(record, 'action')
  if (typeof action !== 'string' || action === '')
    return { ok: false, reason: 'no action: not a GitHub audit log entry' }
  const handle = fit.take(record, 'actor')
  const bot = record.actor_is_bot === true
  const when = ['created_at', '@timestamp', 'at_sign_timestamp'].map((key) => fit.time(record[key])).find(Boolean)
  if (when !== undefined) for (const key of ['created_at', '@timestamp', 'at_sign_timestamp']) delete record[key]
  const agent = record.actor_is_agent === true
  const id = fit.take(record, 'actor_id')
  const repository = fit.take(record, 'repo') ?? record.repository
  const ip = fit.ipAddress(record.actor_ip)
  if (ip !== undefined) delete record.actor_ip
  const event = fit.event({
    action: fit.actionOf('github', action),
    category: categoryOf(action),
    occurred_at: when,
    actor: fit.actor(agent ? 'agent' : bot ? 'service' : handle === undefined && id === undefined ? 'system' : 'user', {
      id: id ?? handle,
      name: handle,
    }),
    targets: fit.targets([
      fit.target('repository', { id: repository }),
      fit.target('user', { id: fit.take(record, 'user_id'), name: fit.take(record, 'user') }),
      fit.target('team', { id: fit.take(record, 'team') ?? fit.at(record.data, 'team') }),
      fit.target('organization', { id: record.org }),
    ]).targets,
    context: fit.context({
      ip,
      user_agent: fit.take(record, 'user_agent'),
      request_id: fit.take(record, 'request_id'),
      location: fit.at(record.actor_location, 'country_code'),
      auth_method: record.programmatic_access_type === undefined ? undefined : 'api_key',
    }),
    source: { id: fit.identifier(record.org) ?? 'github', system: 'github' },
    metadata: fit.metadata(record),
  })
  return { ok: true, event }
}

const CATEGORIES: readonly (readonly [RegExp, Category])[] = [
  [/^billing\.|^sponsors\.|payment/, 'billing'],
  [/^(user|org)\.(login|failed_login|sso_response|logout)|^org_credential_authorization|two_factor/, 'authentication'],
  [/member|permission|role|access|collaborator|^team\.|protected_branch|ruleset|visibility/, 'authorization'],
  [/^git\.(clone|fetch)|download|export/, 'data_access'],
  [
    /^(org|business|enterprise|hook|integration|oauth|audit_log|secret_scanning|dependabot|repository_vuln)/,
    'administration',
  ],
]

function categoryOf(action: string): Category | undefined {
  return CATEGORIES.find(([pattern]) => pattern.test(action))?.[1]
}
