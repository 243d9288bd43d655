/**
 * Google Workspace activities (Admin SDK Reports API), flattened with one event an object, or as the API gives them with
 * an `events` list, of which the first names the action and all stay in metadata.
 * https://developers.google.com/workspace/admin/reports/reference/rest/v1/activities/list
 *
 * Actions are `gsuite.<application>.<event name>`: `gsuite.admin.CREATE_ROLE`.
 */

import type { Category, Outcome } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import type { JsonObject } from '../parse-record.ts'

export const gsuite = recordFormat({
  name: 'gsuite',
  title: 'Google Workspace activity events',
  personalPointers: [
    '/actor/id',
    '/metadata/ipAddress',
    '/metadata/events',
    '/metadata/parameters/owner',
    '/metadata/parameters/new_owner',
    '/metadata/parameters/calendar_id',
    '/metadata/parameters/grantee_email',
    '/metadata/parameters/target_user',
    '/metadata/parameters/target',
    '/metadata/parameters/USER_EMAIL',
    '/metadata/parameters/GROUP_EMAIL',
    '/metadata/parameters/affected_email_address',
    '/metadata/parameters/email_forwarding_destination_address',
    '/metadata/parameters/old_value',
    '/metadata/parameters/new_value',
    '/metadata/parameters/OLD_VALUE',
    '/metadata/parameters/NEW_VALUE',
    '/metadata/parameters/message_info',
    '/metadata/parameters/EMAIL_LOG_SEARCH_SENDER',
    '/metadata/parameters/EMAIL_LOG_SEARCH_RECIPIENT',
    '/metadata/parameters/DEVICE_ID',
    '/metadata/parameters/actor',
    '/metadata/parameters/triggering_user',
    '/metadata/parameters/resource_owner_email',
    '/metadata/parameters/doc_title',
    '/metadata/parameters/resource_title',
    '/metadata/p_enrichment',
    '/metadata/p_any_emails',
    '/metadata/p_any_usernames',
    '/metadata/p_any_ip_addresses',
    '/metadata/p_any_actor_ids',
    '/metadata/p_udm',
  ],
  sourceId: (record) => {
    const id = fit.at(record.id, 'uniqueQualifier')
    return typeof id === 'string' ? { kind: 'shared', id } : { kind: 'none' }
  },
  map,
})

function map(record: JsonObject): Mapped {
  const application = fit.at(record.id, 'applicationName')
  const first = fit.objects(record.events)[0]
  const name = record.name ?? first?.name ?? record.type ?? first?.type
  if (application === undefined && name === undefined && record.p_log_type !== 'GSuite.ActivityEvent') {
    return { ok: false, reason: 'neither application nor name: not a Google Workspace activity' }
  }
  const { parameters } = record
  const occurredAt = fit.time(fit.at(record.id, 'time')) ?? fit.time(record.p_event_time)
  const person = fit.at(record.actor, 'email') ?? fit.at(record.actor, 'profileId')
  const ip = fit.ipAddress(record.ipAddress)
  const event = fit.event({
    action: fit.actionOf('gsuite', fit.text(application), fit.text(name) ?? 'unknown'),
    category: categoryOf(String(application), String(name)),
    occurred_at: occurredAt,
    actor: person
      ? fit.actor('user', {
          id: fit.at(record.actor, 'profileId') || person,
          email: fit.at(record.actor, 'email'),
        })
      : fit.actor('system', { id: fit.at(record.actor, 'key') }),
    targets: fit.targets([
      fit.target('document', { id: fit.at(parameters, 'doc_id') }),
      fit.target('role', { id: fit.at(parameters, 'ROLE_ID'), name: fit.at(parameters, 'ROLE_NAME') }),
      fit.target('user', { email: fit.at(parameters, 'USER_EMAIL') ?? fit.at(parameters, 'affected_email_address') }),
    ]).targets,
    outcome: outcomeOf(String(name), fit.at(parameters, 'event_info', 'success')),
    context: fit.context({ ip }),
    source: { id: fit.identifier(fit.at(record.id, 'customerId')) ?? 'gsuite', system: 'gsuite' },
    metadata: fit.metadata(remainder(record, ip !== undefined)),
  })
  return { ok: true, event }
}

function remainder(record: JsonObject, hasIp: boolean): JsonObject {
  const { actor, kind, p_row_id, p_parse_time, ...rest } = record
  const callerType = fit.at(actor, 'callerType')
  if (callerType !== undefined) rest.callerType = callerType
  if (hasIp) delete rest.ipAddress
  return rest
}

function outcomeOf(name: string, success: unknown): Outcome | undefined {
  if (success === false || /fail/i.test(name)) return 'failure'
  if (/block|denied/i.test(name)) return 'denied'
  return success === true || /success/i.test(name) ? 'success' : undefined
}

function categoryOf(application: string, name: string): Category | undefined {
  if (/^(login|saml|token|user_accounts|context_aware_access)$/.test(application)) return 'authentication'
  if (/role|privilege|acl|permission|visibility|owner|delegate/i.test(name)) return 'authorization'
  if (/^(view|download|access|preview|print)|takeout|export/i.test(name)) return 'data_access'
  if (application === 'admin' || application === 'mobile' || application === 'rules') return 'administration'
  return application === 'drive' ? 'mutation' : undefined
}
