/**
 * The catalog every deployment starts with: the usual actions of a SaaS product, and the platform's own. One line per
 * action: its name and what follows the actor in its sentence.
 */

import { type CaptureMode, Catalog, type CatalogEntry, captureOf, type SamplingTier } from './catalog.ts'
import type { Category } from './category.ts'
import { platformActions } from './platform-actions.ts'

type Row = string | { sentence: string; sampling?: SamplingTier; capture?: CaptureMode; personal?: string[] }

const authentication: Record<string, Row> = {
  'user.login': '<signed in|sign in>[ with {metadata.method}]',
  'user.logout': '<signed out|sign out>',
  'user.signup': '<signed up|sign up>',
  'user.login.sso': '<signed in|sign in> through single sign-on',
  'user.login.failed': '<signed in|sign in>',
  'user.locked': '<locked|lock> {target|the account}',
  'user.unlocked': '<unlocked|unlock> {target|the account}',
  'user.password.changed': '<changed|change> the password[ of {target}]',
  'user.password.reset': '<reset|reset> the password[ of {target}]',
  'user.password.reset.requested': '<requested|request> a password reset[ for {target}]',
  'user.email.verified': '<verified|verify> the e-mail address[ of {target}]',
  'user.mfa.enabled': '<turned on|turn on> two-factor authentication[ for {target}]',
  'user.mfa.disabled': '<turned off|turn off> two-factor authentication[ for {target}]',
  'user.mfa.challenged': '<passed|pass> a two-factor challenge',
  'user.mfa.reset': '<reset|reset> two-factor authentication[ of {target}]',
  'user.passkey.added': '<added|add> a passkey[ for {target}]',
  'user.passkey.removed': '<removed|remove> a passkey[ of {target}]',
  'user.recovery_codes.generated': '<generated|generate> recovery codes',
  'user.impersonated': '<signed in|sign in> as {target|another user}',
  'session.created': '<started|start> a session',
  'session.revoked': '<ended|end> {target|a session}',
  'session.expired': '<was signed out|be signed out> because the session expired',
  'sessions.revoked': '<ended|end> all sessions[ of {target}]',
  authentication_failure: '<signed in|sign in>',
  authentication_success: '<signed in|sign in>',
  login: '<signed in|sign in>',
  logout: '<signed out|sign out>',
  login_failed: '<signed in|sign in>',
}

const authorization: Record<string, Row> = {
  'user.role.updated': '<changed|change> the role of {target|a user}[ from {before} to {after}]',
  'user.role.assigned': '<gave|give> {target|a user} {target.1|a role}',
  'user.role.removed': '<took|take> {target.1|a role} from {target|a user}',
  'user.permission.updated': '<changed|change> the permissions of {target|a user}[ from {before} to {after}]',
  'user.permission.granted': '<granted|grant> {target|a user} {target.1|a permission}',
  'user.permission.revoked': '<revoked|revoke> {target.1|a permission} of {target|a user}',
  'role.created': '<created|create> the role {target|with a new name}',
  'role.updated': '<changed|change> {target|a role}',
  'role.deleted': '<deleted|delete> {target|a role}',
  'group.created': '<created|create> {target|a group}',
  'group.updated': '<changed|change> {target|a group}',
  'group.deleted': '<deleted|delete> {target|a group}',
  'group.member.added': '<added|add> {target|a member} to {target.1|a group}',
  'group.member.removed': '<removed|remove> {target|a member} from {target.1|a group}',
  'team.created': '<created|create> {target|a team}',
  'team.deleted': '<deleted|delete> {target|a team}',
  'team.member.added': '<added|add> {target|a member} to {target.1|a team}',
  'team.member.removed': '<removed|remove> {target|a member} from {target.1|a team}',
  'access.granted': '<granted|grant> access to {target|a resource}',
  'access.revoked': '<revoked|revoke> access to {target|a resource}',
  'access.requested': '<requested|request> access to {target|a resource}',
  'access.denied': '<used|use> {target|a resource}',
  'policy.created': '<created|create> the access policy {target|with a new name}',
  'policy.updated': '<changed|change> the access policy {target|in force}',
  'policy.deleted': '<deleted|delete> the access policy {target|in force}',
  'oauth.app.authorized': '<authorized|authorize> {target|an application}',
  'oauth.app.revoked': '<withdrew|withdraw> the authorization of {target|an application}',
  'link.shared': '<shared|share> a link to {target|a resource}',
  'link.revoked': '<revoked|revoke> a link to {target|a resource}',
  authorization_failure: '<used|use> {target|a resource}',
  permission_changed: '<changed|change> the permissions of {target|a user}[ from {before} to {after}]',
  access_denied: '<used|use> {target|a resource}',
}

const mutation: Record<string, Row> = {
  'user.created': '<created|create> {target|a user}',
  'user.updated': '<updated|update> {target|a user}',
  'user.update': '<updated|update> {target|a user}',
  'user.deleted': '<deleted|delete> {target|a user}',
  'user.email.changed': '<changed|change> the e-mail address[ of {target}]',
  'document.created': '<created|create> {target|a document}',
  'document.updated': '<updated|update> {target|a document}',
  'document.deleted': '<deleted|delete> {target|a document}',
  'document.restored': '<restored|restore> {target|a document}',
  'document.archived': '<archived|archive> {target|a document}',
  'document.shared': '<shared|share> {target|a document}[ with {target.1}]',
  'document.moved': '<moved|move> {target|a document}[ from {before} to {after}]',
  'document.renamed': '<renamed|rename> {target|a document}[ from {before} to {after}]',
  'file.uploaded': '<uploaded|upload> {target|a file}',
  'file.deleted': '<deleted|delete> {target|a file}',
  'folder.created': '<created|create> {target|a folder}',
  'folder.deleted': '<deleted|delete> {target|a folder}',
  'project.created': '<created|create> {target|a project}',
  'project.updated': '<updated|update> {target|a project}',
  'project.archived': '<archived|archive> {target|a project}',
  'project.deleted': '<deleted|delete> {target|a project}',
  'comment.created': '<commented|comment>[ on {target}]',
  'comment.deleted': '<deleted|delete> {target|a comment}',
  'record.created': '<created|create> {target|a record}',
  'record.updated': '<updated|update> {target|a record}',
  'record.deleted': '<deleted|delete> {target|a record}',
  'records.imported': '<imported|import>[ {metadata.record_count}] records[ into {target}]',
  'records.deleted': '<deleted|delete>[ {metadata.record_count}] records[ of {target}]',
  'customer.created': '<created|create> {target|a customer}',
  'customer.updated': '<updated|update> {target|a customer}',
  'customer.deleted': '<deleted|delete> {target|a customer}',
  'order.created': '<placed|place> {target|an order}',
  'order.cancelled': '<cancelled|cancel> {target|an order}',
  'task.completed': '<completed|complete> {target|a task}',
  'task.assigned': '<assigned|assign> {target|a task}[ to {target.1}]',
  'approval.granted': '<approved|approve> {target|a request}',
  'approval.rejected': '<rejected|reject> {target|a request}',
}

const dataAccess: Record<string, Row> = {
  'data.exported': {
    sentence: '<exported|export>[ {metadata.record_count} records of] {target|data}',
    capture: 'await',
  },
  data_export: {
    sentence: '<exported|export>[ {metadata.record_count} records of] {target|metadata.dataset|data}',
    capture: 'await',
  },
  'report.exported': { sentence: '<exported|export> {target|a report}', capture: 'await' },
  'report.viewed': '<viewed|view> {target|a report}',
  'document.viewed': '<viewed|view> {target|a document}',
  'document.downloaded': '<downloaded|download> {target|a document}',
  'document.printed': '<printed|print> {target|a document}',
  'file.viewed': '<viewed|view> {target|a file}',
  'file.downloaded': '<downloaded|download> {target|a file}',
  'invoice.download': '<downloaded|download> {target|an invoice}',
  'invoice.downloaded': '<downloaded|download> {target|an invoice}',
  'invoice.viewed': '<viewed|view> {target|an invoice}',
  'record.viewed': '<viewed|view> {target|a record}',
  'records.listed': { sentence: '<listed|list> records[ of {target}]', sampling: 50 },
  'customer.viewed': '<viewed|view> {target|a customer}',
  'customers.exported': { sentence: '<exported|export>[ {metadata.record_count}] customers', capture: 'await' },
  'user.viewed': '<viewed|view> {target|a user}',
  'users.exported': { sentence: '<exported|export>[ {metadata.record_count}] users', capture: 'await' },
  'search.performed': { sentence: '<searched|search>[ {target}]', sampling: 50 },
  'query.executed': '<ran|run> a query[ on {target}]',
  'dashboard.viewed': { sentence: '<viewed|view> {target|a dashboard}', sampling: 50 },
  'page.viewed': { sentence: '<viewed|view> {target|a page}', sampling: 10 },
  'api.requested': { sentence: '<called|call> {target|the API}', sampling: 10 },
  'health.checked': { sentence: '<checked|check> the health of {target|the service}', sampling: 1 },
  'secret.viewed': { sentence: '<viewed|view> {target|a secret}', capture: 'await' },
  'audit_log.viewed': '<viewed|view> the audit log',
  'audit_log.exported': { sentence: '<exported|export> the audit log', capture: 'await' },
  'backup.downloaded': { sentence: '<downloaded|download> {target|a backup}', capture: 'await' },
  resource_access: '<accessed|access> {target|a resource}',
}

const administration: Record<string, Row> = {
  'organization.created': '<created|create> {target|the organization}',
  'organization.updated': '<changed|change> the settings of {target|the organization}',
  'organization.deleted': '<deleted|delete> {target|the organization}',
  'settings.updated': '<changed|change> the settings[ of {target}][: {path} from {before} to {after}]',
  'user.invited': { sentence: '<invited|invite> {target|a user}', personal: ['/metadata/invitee'] },
  'user.invitation.accepted': '<accepted|accept> an invitation',
  'user.invitation.revoked': '<withdrew|withdraw> the invitation of {target|a user}',
  'user.suspended': '<suspended|suspend> {target|a user}',
  'user.reactivated': '<reactivated|reactivate> {target|a user}',
  'user.deactivated': '<deactivated|deactivate> {target|a user}',
  'user.provisioned': '<provisioned|provision> {target|a user}',
  'user.deprovisioned': '<deprovisioned|deprovision> {target|a user}',
  'api_key.created': '<created|create> {target|an API key}',
  'api_key.rotated': '<rotated|rotate> {target|an API key}',
  'api_key.revoked': '<revoked|revoke> {target|an API key}',
  'service_account.created': '<created|create> {target|a service account}',
  'service_account.deleted': '<deleted|delete> {target|a service account}',
  'webhook.created': '<created|create> {target|a webhook}',
  'webhook.updated': '<changed|change> {target|a webhook}',
  'webhook.deleted': '<deleted|delete> {target|a webhook}',
  'integration.connected': '<connected|connect> {target|an integration}',
  'integration.updated': '<changed|change> {target|an integration}',
  'integration.disconnected': '<disconnected|disconnect> {target|an integration}',
  'domain.added': '<added|add> {target|a domain}',
  'domain.verified': '<verified|verify> {target|a domain}',
  'domain.removed': '<removed|remove> {target|a domain}',
  'sso.configured': '<configured|configure> single sign-on',
  'sso.enabled': '<turned on|turn on> single sign-on',
  'sso.disabled': '<turned off|turn off> single sign-on',
  'scim.enabled': '<turned on|turn on> directory sync',
  'scim.disabled': '<turned off|turn off> directory sync',
  'mfa.enforced': '<made|make> two-factor authentication mandatory',
  'ip_allowlist.updated': '<changed|change> the list of allowed addresses',
  'retention.updated': '<changed|change> the retention[ from {before} to {after}]',
  'feature_flag.updated': '<changed|change> {target|a feature flag}[ from {before} to {after}]',
  'secret.created': '<created|create> {target|a secret}',
  'secret.rotated': '<rotated|rotate> {target|a secret}',
  'secret.deleted': '<deleted|delete> {target|a secret}',
  'backup.created': '<created|create> {target|a backup}',
  'backup.restored': '<restored|restore> {target|a backup}',
  'deployment.created': '<deployed|deploy> {target|a release}',
  'log_stream.created': '<created|create> {target|a log stream}',
  'log_stream.deleted': '<deleted|delete> {target|a log stream}',
}

const billing: Record<string, Row> = {
  'subscription.created': '<started|start> {target|a subscription}',
  'subscription.updated': '<changed|change> {target|the subscription}[ from {before} to {after}]',
  'subscription.upgraded': '<upgraded|upgrade> {target|the subscription}[ from {before} to {after}]',
  'subscription.downgraded': '<downgraded|downgrade> {target|the subscription}[ from {before} to {after}]',
  'subscription.cancelled': '<cancelled|cancel> {target|the subscription}',
  'subscription.renewed': '<renewed|renew> {target|the subscription}',
  'plan.changed': '<changed|change> the plan[ from {before} to {after}]',
  'seats.changed': '<changed|change> the number of seats[ from {before} to {after}]',
  'payment.succeeded': '<paid|pay> {target|an invoice}',
  'payment.failed': '<paid|pay> {target|an invoice}',
  'payment.refunded': '<refunded|refund> {target|a payment}',
  'payment_method.added': '<added|add> {target|a payment method}',
  'payment_method.updated': '<changed|change> {target|the payment method}',
  'payment_method.removed': '<removed|remove> {target|a payment method}',
  'invoice.created': '<issued|issue> {target|an invoice}',
  'invoice.paid': '<paid|pay> {target|an invoice}',
  'invoice.voided': '<voided|void> {target|an invoice}',
  'invoice.sent': '<sent|send> {target|an invoice}',
  'credit.granted': '<granted|grant> a credit[ of {metadata.amount}]',
  'coupon.applied': '<applied|apply> {target|a coupon}',
  'billing.details.updated': '<changed|change> the billing details',
  'billing.email.changed': '<changed|change> the billing e-mail address',
  'tax_id.updated': '<changed|change> the tax number',
}

/** Every standard entry, version 1. */
export function* standardEntries(): Generator<CatalogEntry> {
  yield* entriesOf('authentication', authentication)
  yield* entriesOf('authorization', authorization)
  yield* entriesOf('mutation', mutation)
  yield* entriesOf('data_access', dataAccess)
  yield* entriesOf('administration', administration)
  yield* entriesOf('billing', billing)
  for (const [category, rows] of Object.entries(platformActions)) yield* entriesOf(category as Category, rows)
}

function* entriesOf(category: Category, rows: Record<string, Row>): Generator<CatalogEntry> {
  for (const [action, row] of Object.entries(rows)) {
    const { sentence, sampling, capture, personal } = typeof row === 'string' ? { sentence: row } : row
    yield {
      action,
      version: 1,
      category,
      sentence,
      sampling: sampling ?? 100,
      capture: capture ?? captureOf(category),
      personal: personal ?? [],
      confidential: [],
    }
  }
}

export function standardCatalog(): Catalog {
  return new Catalog(standardEntries())
}
