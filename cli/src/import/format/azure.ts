/**
 * Microsoft Entra ID (Azure AD) audit and sign-in logs in the shape of Azure Monitor, one object a record or
 * `{"records": […]}`. Some exporters fold names to lower case; both spellings are understood.
 * https://learn.microsoft.com/en-us/entra/identity/monitoring-health/reference-azure-monitor-audit-log-schema
 *
 * Actions are `azure.<operation>`, its words joined by underscores: `azure.sign_in_activity`.
 */

import type { Actor, Category, Outcome } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import type { JsonObject } from '../parse-record.ts'

const NAMES = [
  'operationName',
  'operationVersion',
  'callerIpAddress',
  'correlationId',
  'resourceId',
  'tenantId',
  'resultType',
  'resultSignature',
  'resultDescription',
  'durationMs',
]

const P = '/metadata/properties'

export const azure = recordFormat({
  name: 'azure',
  title: 'Microsoft Entra ID (Azure AD) audit and sign-in logs',
  personalPointers: [
    '/actor/id',
    '/actor/name',
    '/metadata/identity',
    '/metadata/callerIpAddress',
    '/metadata/resultDescription',
    `${P}/userPrincipalName`,
    `${P}/userDisplayName`,
    `${P}/servicePrincipalName`,
    `${P}/signInIdentifier`,
    `${P}/ipAddress`,
    `${P}/ipAddressFromResourceProvider`,
    `${P}/userAgent`,
    `${P}/location`,
    `${P}/deviceDetail`,
    `${P}/alternateSignInName`,
    `${P}/authenticationDetails`,
    `${P}/additionalDetails`,
    `${P}/initiatedBy`,
    `${P}/targetResources`,
    '/metadata/ipAddress',
    '/metadata/p_enrichment',
    '/metadata/p_any_ip_addresses',
    '/metadata/p_any_emails',
    '/metadata/p_any_usernames',
  ],
  sourceId: (record) => {
    const id = fit.at(record.properties, 'id') ?? record.correlationId ?? record.correlationid
    return typeof id === 'string' ? { kind: 'shared', id } : { kind: 'none' }
  },
  map,
})

function map(record: JsonObject): Mapped {
  for (const name of NAMES) {
    const folded = name === name.toLowerCase() ? undefined : fit.take(record, name.toLowerCase())
    if (folded !== undefined && record[name] === undefined) record[name] = folded
  }
  const { properties, category } = record
  const operation =
    record.operationName ?? fit.at(properties, 'operationName') ?? fit.at(properties, 'activityDisplayName')
  if (operation === undefined && category === undefined) {
    return { ok: false, reason: 'neither operationName nor category: not an Azure log record' }
  }
  const name = fit.snake(operation) ?? fit.snake(category) ?? 'unknown'
  const occurredAt = fit.time(record.time) ?? fit.time(fit.at(properties, 'activityDateTime'))
  const person = fit.at(properties, 'initiatedBy', 'user')
  const ip = record.callerIpAddress ?? fit.at(properties, 'ipAddress') ?? fit.at(person, 'ipAddress')
  const { targets } = fit.targets(
    fit.objects(fit.at(properties, 'targetResources')).map((resource) =>
      fit.target(fit.snake(resource.type), {
        id: resource.id,
        // Names of resources are personal as often as not, and stay under metadata with the rest.
        email: resource.userPrincipalName,
      }),
    ),
  )
  if (occurredAt !== undefined) delete record.time
  const outcome = outcomeOf(record)
  const event = fit.event({
    action: fit.actionOf('azure', name),
    category: categoryOf(String(category), name),
    occurred_at: occurredAt,
    actor: actorOf(properties, record.identity),
    targets,
    outcome,
    reason: outcome === 'success' ? undefined : fit.reason(fit.at(properties, 'status', 'failureReason')),
    context: fit.context({
      ip,
      user_agent: fit.at(properties, 'userAgent'),
      request_id: record.correlationId,
      session_id: fit.at(properties, 'sessionId'),
      auth_method: fit.at(properties, 'authenticationProtocol') === 'oAuth2' ? 'oauth' : undefined,
    }),
    source: { id: fit.identifier(record.tenantId) ?? 'azure', system: 'azure' },
    metadata: fit.metadata(record),
  })
  return { ok: true, event }
}

function actorOf(properties: unknown, identity: unknown): Actor {
  const user = fit.at(properties, 'initiatedBy', 'user')
  const app = fit.at(properties, 'initiatedBy', 'app')
  const principal = fit.at(user, 'userPrincipalName') ?? fit.at(properties, 'userPrincipalName')
  const id = fit.at(user, 'id') ?? fit.at(properties, 'userId') ?? principal
  if (id) {
    const name = fit.at(user, 'displayName') ?? fit.at(properties, 'userDisplayName') ?? identity
    return fit.actor('user', { id, name, email: principal })
  }
  const service = fit.at(app, 'servicePrincipalId') ?? fit.at(app, 'appId') ?? fit.at(properties, 'servicePrincipalId')
  const name = fit.at(app, 'displayName') ?? fit.at(properties, 'servicePrincipalName') ?? identity
  return service || name ? fit.actor('service', { id: service || undefined, name }) : fit.actor('system', {})
}

function outcomeOf(record: JsonObject): Outcome | undefined {
  const code = fit.at(record.properties, 'status', 'errorCode') ?? record.resultType
  if (code !== undefined && code !== null && /^\d+$/.test(String(code)))
    return Number(code) === 0 ? 'success' : 'failure'
  const said = String(fit.at(record.properties, 'result') ?? record.resultType ?? record.result ?? '').toLowerCase()
  if (said === 'success' || said === 'failure') return said
  return said === 'denied' ? 'denied' : undefined
}

function categoryOf(category: string, name: string): Category {
  if (/sign_?in/i.test(category) || name.startsWith('sign_in')) return 'authentication'
  return /role|permission|consent|grant|member|owner|access/.test(name) ? 'authorization' : 'administration'
}
