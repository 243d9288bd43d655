/**
 * Slack Audit Logs API entries: https://api.slack.com/admins/audit-logs-call
 * Actions are `slack.<action>`: `slack.user_login`.
 */

import type { Category } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import type { JsonObject } from '../parse-record.ts'

export const slack = recordFormat({
  name: 'slack',
  title: 'Slack audit log entries',
  personalPointers: [
    '/metadata/entity/user/name',
    '/metadata/entity/user/email',
    '/metadata/details/inviter',
    '/metadata/details/kicker',
    '/metadata/details/reason',
    '/metadata/details/previous_ip_address',
    '/metadata/details/previous_ua',
  ],
  sourceId: ({ id }) => (typeof id === 'string' ? { kind: 'shared', id } : { kind: 'none' }),
  map,
})

function map(record: JsonObject): Mapped {
  const { action } = record
  if (typeof action !== 'string' || action === '')
    return { ok: false, reason: 'no action: not a Slack audit log entry' }
  const user = fit.at(record.actor, 'user')
  const kind = fit.text(fit.at(record.entity, 'type'))
  const entity = kind === undefined ? undefined : fit.at(record.entity, kind)
  const found = fit.target(kind, {
    id: fit.at(entity, 'id'),
    name: fit.at(entity, 'name'),
    email: fit.at(entity, 'email'),
  })
  const occurredAt = fit.time(record.date_create) ?? fit.time(record.p_event_time)
  const event = fit.event({
    action: fit.actionOf('slack', action),
    category: categoryOf(action),
    occurred_at: occurredAt,
    actor: fit.actor(user === undefined ? 'system' : 'user', {
      id: fit.at(user, 'id'),
      name: fit.at(user, 'name'),
      email: fit.at(user, 'email'),
      team: fit.at(user, 'team'),
    }),
    targets: found && [found],
    context: fit.context({
      ip: fit.at(record.context, 'ip_address'),
      user_agent: fit.at(record.context, 'ua'),
      session_id: fit.at(record.context, 'session_id'),
    }),
    source: { id: fit.identifier(fit.at(record.context, 'location', 'id')) ?? 'slack', system: 'slack' },
    metadata: fit.metadata({
      location: fit.at(record.context, 'location') ?? null,
      entity: record.entity ?? null,
      details: record.details ?? null,
      id: record.id ?? null,
      ...(occurredAt === undefined ? { date_create: record.date_create ?? null } : {}),
    }),
  })
  return { ok: true, event }
}

const CATEGORIES: readonly (readonly [RegExp, Category])[] = [
  [/login|logout|session|sso|two_factor|anomaly/, 'authentication'],
  [/role|permission|guest|owner|admin|scope|convert/, 'authorization'],
  [/download|export|ekm_logging|view/, 'data_access'],
  [/billing|plan/, 'billing'],
  [
    /^(pref|app|workspace|organization|user_(created|deactivated|reactivated)|retention|dlp|legal_hold|barrier)/,
    'administration',
  ],
]

function categoryOf(action: string): Category | undefined {
  return CATEGORIES.find(([pattern]) => pattern.test(action))?.[1]
}
