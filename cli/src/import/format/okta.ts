/**
 * Okta System Log, one LogEvent an object: https://developer.okta.com/docs/api/openapi/okta-management/management/tag/SystemLog/
 * Some exporters fold top-level names to lower case; both spellings are understood.
 *
 * Actions are `okta.<eventType>`: `okta.user.session.start`.
 */

import type { Actor, Category, Outcome } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import { isObject, type JsonObject } from '../parse-record.ts'

export const okta = recordFormat({
  name: 'okta',
  title: 'Okta System Log events',
  personalPointers: [
    '/actor/name',
    '/metadata/actor/alternateId',
    '/metadata/actor/displayName',
    '/metadata/target/*/alternateId',
    '/metadata/target/*/displayName',
    '/metadata/target/*/changeDetails',
    '/metadata/client/ipAddress',
    '/metadata/client/geographicalContext',
    '/metadata/request/ipChain',
    '/metadata/debugContext/debugData/deviceFingerprint',
    '/metadata/debugContext/debugData/requestUri',
    '/metadata/debugContext/debugData/url',
    '/metadata/debugContext/debugData/targetEventHookIds',
    '/metadata/debugContext/debugData/privilegeGranted_user',
    '/metadata/debugContext/debugData/suspiciousActivityEventIp',
    '/metadata/debugContext/debugData/suspiciousActivityEventCity',
    '/metadata/debugContext/debugData/clientAddress',
    '/metadata/debugContext/debugData/factorIntent',
    '/metadata/authenticationContext/externalSessionId',
    '/metadata/device',
    '/metadata/p_enrichment',
    '/metadata/p_any_emails',
    '/metadata/p_any_usernames',
    '/metadata/p_any_ip_addresses',
  ],
  sourceId: (record) => (typeof record.uuid === 'string' ? { kind: 'shared', id: record.uuid } : { kind: 'none' }),
  map,
})

/** Top-level names of a LogEvent that exporters are known to fold. */
const NAMES = [
  'eventType',
  'displayMessage',
  'legacyEventType',
  'authenticationContext',
  'debugContext',
  'securityContext',
]

function map(folded: JsonObject): Mapped {
  const record = unfolded(folded)
  const { eventType } = record
  if (typeof eventType !== 'string' && record.uuid === undefined && record.p_log_type !== 'Okta.SystemLog') {
    return { ok: false, reason: 'neither eventType nor uuid: not an Okta System Log event' }
  }
  const type = typeof eventType === 'string' && eventType !== '' ? eventType : 'unknown'
  const occurredAt = fit.time(record.published) ?? fit.time(record.p_event_time)
  const result = fit.at(record.outcome, 'result')
  const { targets, cut } = fit.targets(fit.objects(record.target).map(targetOf))
  const event = fit.event({
    action: fit.actionOf('okta', type),
    category: categoryOf(type),
    occurred_at: occurredAt,
    actor: actorOf(record.actor),
    targets,
    outcome: outcomeOf(result),
    reason: fit.reason(fit.at(record.outcome, 'reason')),
    context: fit.context({
      ip: fit.at(record.client, 'ipAddress'),
      user_agent: fit.at(record.client, 'userAgent', 'rawUserAgent'),
      request_id: fit.at(record.debugContext, 'debugData', 'requestId'),
      trace_id: fit.at(record.transaction, 'id'),
      session_id: fit.at(record.authenticationContext, 'externalSessionId'),
      location: placeOf(fit.at(record.client, 'geographicalContext')),
      auth_method: type === 'user.authentication.sso' ? 'sso' : undefined,
    }),
    source: { id: 'okta', system: 'okta' },
    // Last: it takes the record apart.
    metadata: fit.metadata(remainder(record, cut, occurredAt !== undefined)),
  })
  return { ok: true, event }
}

function unfolded(record: JsonObject): JsonObject {
  for (const name of NAMES) {
    const lower = name.toLowerCase()
    if (Object.hasOwn(record, name) || !Object.hasOwn(record, lower)) continue
    record[name] = record[lower]!
    delete record[lower]
  }
  return record
}

function actorOf(from: unknown): Actor {
  if (!isObject(from)) return fit.actor('anonymous', {})
  const type =
    from.type === 'SystemPrincipal' ? 'system' : from.type === undefined || from.type === 'User' ? 'user' : 'service'
  return fit.actor(type, {
    id: known(from.id) ?? known(from.alternateId),
    name: known(from.displayName),
    email: from.alternateId,
  })
}

function targetOf(from: JsonObject) {
  const { type, id, displayName, alternateId } = from
  // An AppUser is a person's account in an application: a person, whose name is personal.
  const kind = type === 'AppUser' ? 'user' : fit.snake(String(type).replace(/([a-z])([A-Z])/g, '$1 $2'))
  return fit.target(kind, { id: known(id), name: known(displayName) ?? known(alternateId), email: alternateId })
}

/** Okta writes the word where it has no value. */
function known(value: unknown): unknown {
  return value === 'unknown' ? undefined : value
}

const OUTCOMES: Readonly<Record<string, Outcome>> = {
  SUCCESS: 'success',
  ALLOW: 'success',
  FAILURE: 'failure',
  DENY: 'denied',
}

/** CHALLENGE, SKIPPED and the like say how far an attempt came, not how it ended: they stay in metadata. */
function outcomeOf(result: unknown): Outcome | undefined {
  return typeof result === 'string' && Object.hasOwn(OUTCOMES, result) ? OUTCOMES[result] : undefined
}

function placeOf(geo: unknown): string | undefined {
  const parts = ['city', 'state', 'country'].map((key) => fit.text(fit.at(geo, key)))
  return parts.filter((part) => part !== undefined).join(', ') || undefined
}

const CATEGORIES: readonly (readonly [RegExp, Category])[] = [
  [/^(user\.session|user\.authentication|policy\.evaluate|app\.oauth2|app\.generic\.unauth|logout)/, 'authentication'],
  [/show_password|^app\..*\.(export|read)|^report\.|^analytics\./, 'data_access'],
  [/privilege|^(group\.user_membership|application\.user_membership|iam\.|zone\.|network_zone)/, 'authorization'],
  [/^(user|group)\.(lifecycle|account|profile|mfa|credential|risk)|^device\./, 'administration'],
  [/^(system|policy|application|security|org|directory|app)\./, 'administration'],
]

function categoryOf(type: string): Category | undefined {
  return CATEGORIES.find(([pattern]) => pattern.test(type))?.[1]
}

/** What the event does not say already, under the names of Okta. */
function remainder(record: JsonObject, targetsCut: boolean, hasTime: boolean): JsonObject {
  if (hasTime) delete record.published
  for (const key of ['version', 'p_schema_version', 'p_row_id', 'p_parse_time']) delete record[key]
  remove(record, 'actor', ['id', 'displayName', 'alternateId', 'type'])
  remove(record, 'outcome', outcomeOf(fit.at(record.outcome, 'result')) ? ['result', 'reason'] : ['reason'])
  remove(record, 'transaction', ['id'])
  remove(record, 'authenticationContext', ['externalSessionId'])
  if (isObject(record.client)) {
    if (isObject(record.client.userAgent)) delete record.client.userAgent.rawUserAgent
    if (fit.ipAddress(record.client.ipAddress) !== undefined) delete record.client.ipAddress
  }
  const targets = fit.objects(record.target)
  if (!targetsCut && !targets.some(saysMore)) delete record.target
  return record
}

function remove(record: JsonObject, key: string, members: readonly string[]): void {
  const value = record[key]
  if (!isObject(value)) return
  for (const member of members) delete value[member]
}

/** True if a target of an event cannot hold all of this one. */
function saysMore({ type, id, displayName, alternateId, ...more }: JsonObject): boolean {
  void id
  const other = known(alternateId)
  if (type === 'AppUser') return true
  if (other !== undefined && other !== displayName && displayName !== undefined && !fit.emailAddress(other)) return true
  return Object.values(more).some((value) => value !== null)
}
