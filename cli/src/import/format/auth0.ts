/**
 * Auth0 tenant log events, with or without the `data` envelope of log streams.
 * https://auth0.com/docs/deploy-monitor/logs/log-event-type-codes
 *
 * Actions are `auth0.<type code>`, and for calls of the Management API also what was called, because one code stands
 * for all of them: `auth0.fp`, `auth0.sapi.create_a_user`.
 */

import type { Category, Outcome } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import { isObject, type JsonObject } from '../parse-record.ts'

export const auth0 = recordFormat({
  name: 'auth0',
  title: 'Auth0 log events',
  personalPointers: [
    '/actor/id',
    '/actor/name',
    '/reason',
    '/metadata/description',
    '/metadata/p_enrichment',
    '/metadata/user_name',
    '/metadata/details/request/ip',
    '/metadata/details/request/userAgent',
    '/metadata/details/request/auth/user',
    '/metadata/details/request/body',
    '/metadata/details/request/path',
    '/metadata/details/request/query',
    '/metadata/details/response/body',
    '/metadata/details/prompts',
    '/metadata/details/authenticator',
    '/metadata/details/email',
    '/metadata/location_info',
    '/metadata/p_any_ip_addresses',
    '/metadata/p_any_usernames',
    '/metadata/p_any_emails',
  ],
  sourceId: (record) => {
    const id = bodyOf(record).log_id ?? record.log_id
    return typeof id === 'string' ? { kind: 'shared', id } : { kind: 'none' }
  },
  map,
})

function bodyOf(record: JsonObject): JsonObject {
  return isObject(record.data) ? record.data : record
}

const MANAGEMENT = /^(sapi|fapi|mgmt_api_read)$/

function map(record: JsonObject): Mapped {
  const body = bodyOf(record)
  const { type } = body
  if (typeof type !== 'string' || type === '') return { ok: false, reason: 'no type: not an Auth0 log event' }
  const caller = fit.at(body.details, 'request', 'auth', 'user')
  const userId = body.user_id || fit.at(caller, 'user_id')
  const application = fit.target('application', { id: body.client_id, name: body.client_name })
  const outcome = outcomeOf(type, fit.at(body.details, 'response', 'statusCode'))
  const { data, ...envelope } = record
  const event = fit.event({
    action: fit.actionOf('auth0', type, MANAGEMENT.test(type) ? fit.snake(body.description) : undefined),
    category: categoryOf(type, body),
    occurred_at: fit.time(body.date) ?? fit.time(record.p_event_time),
    actor: userId
      ? fit.actor('user', {
          id: userId,
          name: body.user_name || fit.at(caller, 'name'),
          email: fit.emailAddress(body.user_name) ?? fit.at(caller, 'email'),
        })
      : fit.actor(body.client_id ? 'service' : 'anonymous', { id: body.client_id, name: body.client_name }),
    targets: application && [application],
    outcome,
    reason: outcome === 'success' ? undefined : fit.reason(body.description),
    context: fit.context({ ip: body.ip, user_agent: body.user_agent, session_id: body.session_id }),
    source: { id: 'auth0', system: 'auth0' },
    metadata: fit.metadata(without(data === body ? { ...envelope, ...body } : record)),
  })
  return { ok: true, event }
}

function without(record: JsonObject): JsonObject {
  const { user_id, client_id, client_name, user_agent, ip, session_id, p_row_id, p_parse_time, ...rest } = record
  return fit.ipAddress(ip) === undefined ? { ...rest, ip: ip ?? null } : rest
}

function outcomeOf(type: string, status: unknown): Outcome {
  if (status === 401 || status === 403) return 'denied'
  if (typeof status === 'number' && status >= 400) return 'failure'
  if (/^limit_|^pwd_leak$|^api_limit/.test(type)) return 'denied'
  return /^f/.test(type) ? 'failure' : 'success'
}

function categoryOf(type: string, body: JsonObject): Category {
  if (type === 'mgmt_api_read' || fit.at(body.details, 'request', 'method') === 'get') return 'data_access'
  if (!MANAGEMENT.test(type))
    return /^(s|f)(v|u|d|ce|cp|cpn|cu)$|^(sdu|fdu)$/.test(type) ? 'administration' : 'authentication'
  return /role|permission|grant/i.test(String(body.description)) ? 'authorization' : 'administration'
}
