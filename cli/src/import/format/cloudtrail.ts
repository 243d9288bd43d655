/**
 * AWS CloudTrail: `{"Records": […]}` files as delivered to S3, or one record a line.
 * Field by field after "CloudTrail record contents" and "CloudTrail userIdentity element" of the AWS documentation.
 *
 * Actions are `aws.<service>.<eventName>`, the service as in eventSource, the name untouched: `aws.s3.GetObject`.
 * What no field of an event holds stays under metadata by its CloudTrail name.
 */

import type { Actor, Category, Context, Outcome, Target } from '@affidavit/sdk'
import * as fit from '../fit.ts'
import { type Mapped, recordFormat } from '../format.ts'
import { isObject, type JsonObject } from '../parse-record.ts'

export const cloudtrail = recordFormat({
  name: 'cloudtrail',
  title: 'AWS CloudTrail records, as delivered to S3 or one a line',
  // An ARN or principal id of a person ends in their user or session name, and error messages quote it.
  personalPointers: [
    '/actor/id',
    '/actor/name',
    '/actor/on_behalf_of/id',
    '/metadata/errorMessage',
    '/metadata/userIdentity/principalId',
    '/metadata/userIdentity/userName',
    '/metadata/userIdentity/arn',
    '/metadata/userIdentity/sessionContext/sourceIdentity',
    '/metadata/userIdentity/sessionContext/sessionIssuer/arn',
    '/metadata/userIdentity/sessionContext/sessionIssuer/userName',
    '/metadata/responseElements/*/createdBy',
    '/metadata/responseElements/*/lastModifiedBy',
    '/metadata/requestParameters/userName',
    '/metadata/requestParameters/UserName',
    '/metadata/requestParameters/username',
    '/metadata/requestParameters/userArn',
    '/metadata/requestParameters/principalArn',
    '/metadata/requestParameters/policySourceArn',
    '/metadata/requestParameters/roleSessionName',
    '/metadata/requestParameters/sourceIdentity',
    '/metadata/requestParameters/email',
    '/metadata/requestParameters/emailAddress',
    '/metadata/requestParameters/userAttributes',
    '/metadata/requestParameters/cidrIp',
    '/metadata/responseElements/arn',
    '/metadata/responseElements/user/userName',
    '/metadata/responseElements/user/arn',
    '/metadata/responseElements/accessKey/userName',
    '/metadata/responseElements/loginProfile/userName',
    '/metadata/responseElements/virtualMFADevice/serialNumber',
    '/metadata/responseElements/assumedRoleUser/arn',
    '/metadata/responseElements/assumedRoleUser/assumedRoleId',
    '/metadata/responseElements/federatedUser/arn',
    '/metadata/responseElements/federatedUser/federatedUserId',
    '/metadata/responseElements/createAccountStatus/accountName',
    '/metadata/responseElements/sourceIdentity',
    '/metadata/responseElements/subjectFromWebIdentityToken',
    '/metadata/additionalEventData/UserName',
    '/metadata/additionalEventData/SwitchFrom',
    '/metadata/additionalEventData/SwitchTo',
    '/metadata/additionalEventData/MFAIdentifier',
    '/metadata/serviceEventDetails/UserAuthentication',
  ],
  sourceId: (record) =>
    typeof record.eventID === 'string' ? { kind: 'unique', id: record.eventID } : { kind: 'none' },
  map,
})

function map(record: JsonObject): Mapped {
  const { eventName, eventSource } = record
  if (typeof eventName !== 'string' || eventName === '')
    return { ok: false, reason: 'no eventName: not a CloudTrail record' }
  if (typeof eventSource !== 'string') return { ok: false, reason: 'no eventSource: not a CloudTrail record' }
  const occurredAt = fit.time(record.eventTime)
  if (occurredAt === undefined) return { ok: false, reason: 'eventTime is missing or not a time' }
  const service = eventSource.toLowerCase().replace(/\.amazonaws\.com$/, '')
  const { targets, cut } = fit.targets([...resourceTargets(record), ...userTargets(service, record)])
  const outcome = outcomeOf(record)
  const event = fit.event({
    action: fit.actionOf('aws', service, eventName),
    category: categoryOf(service, eventName, record),
    occurred_at: occurredAt,
    actor: actorOf(record.userIdentity),
    targets,
    outcome,
    reason: fit.reason(record.errorCode ?? (outcome === 'success' ? undefined : record.errorMessage)),
    context: contextOf(service, record),
    source: { id: fit.identifier(record.recipientAccountId) ?? 'cloudtrail', system: 'cloudtrail' },
    // Last: it takes the record apart.
    metadata: fit.metadata(remainder(record, cut)),
  })
  return { ok: true, event }
}

function actorOf(identity: unknown): Actor {
  if (!isObject(identity)) return fit.actor('anonymous', {})
  const { type, arn, principalId, userName, invokedBy } = identity
  const id = arn ?? principalId
  const session = typeof arn === 'string' ? arn.slice(arn.lastIndexOf('/') + 1) : undefined
  const behalf = fit.identifier(fit.at(identity, 'onBehalfOf', 'userId'))
  const who = ((): Actor => {
    switch (type) {
      case 'Root':
        return fit.actor('user', { id, name: 'root', role: 'root' })
      case 'AWSService':
        return fit.actor('service', { id: invokedBy ?? id })
      case 'AssumedRole':
      case 'Role': {
        const role = fit.at(identity, 'sessionContext', 'sessionIssuer', 'userName')
        // IAM Identity Center names the session after the person; other sessions are named by a program.
        const person = fit.emailAddress(session) !== undefined || String(role).startsWith('AWSReservedSSO_')
        return fit.actor(person ? 'user' : 'service', { id, name: session, email: session, role })
      }
      case 'AWSAccount':
        return fit.actor('service', { id: id ?? identity.accountId })
      case 'FederatedUser':
        return fit.actor('user', { id, name: session })
      case undefined:
      case 'Unknown':
        return fit.actor(id === undefined ? 'anonymous' : 'user', { id, name: userName })
      default:
        return fit.actor('user', { id: id ?? userName, name: userName, email: userName })
    }
  })()
  return behalf === undefined ? who : { ...who, on_behalf_of: { type: 'user', id: behalf } }
}

/** Resources by ARN, named as AWS names their type: `AWS::S3::Bucket` → `s3.bucket`. */
function resourceTargets(record: JsonObject): (Target | undefined)[] {
  return fit.objects(record.resources).map((resource) => {
    const arn = resource.ARN ?? resource.ARNPrefix
    return arn === undefined || isPersonArn(arn) ? undefined : fit.target(resourceType(resource.type, arn), { id: arn })
  })
}

function resourceType(type: unknown, arn: unknown): string {
  if (typeof type === 'string')
    return type
      .replace(/^AWS::/, '')
      .replaceAll('::', '.')
      .toLowerCase()
  const [, , service, , , resource = ''] = String(arn).split(':')
  return [service, /^[a-z-]+(?=\/)/.exec(resource)?.[0]].filter(Boolean).join('.') || 'resource'
}

function isPersonArn(arn: unknown): boolean {
  return typeof arn === 'string' && /:(user|federated-user|assumed-role)\//.test(arn)
}

/** The person that an IAM call is about. The name alone: it is personal, and targets are not found by personal ids. */
function userTargets(service: string, record: JsonObject): (Target | undefined)[] {
  const people = fit.objects(record.resources).filter((resource) => isPersonArn(resource.ARN))
  const named = people.map(({ ARN }) => String(ARN).slice(String(ARN).lastIndexOf('/') + 1))
  const asked = fit.at(record.requestParameters, 'userName')
  if (service === 'iam' && typeof asked === 'string' && !named.includes(asked)) named.push(asked)
  const id = fit.at(record.responseElements, 'user', 'userId')
  return named.map((name) => fit.target('user', { name, email: name, id: name === asked ? id : undefined }))
}

const DENIED = /AccessDenied|Unauthori[sz]ed|Forbidden|NotAuthori[sz]ed|AuthFailure|AllAccessDisabled/i

function outcomeOf(record: JsonObject): Outcome {
  const { errorCode, eventName, errorMessage } = record
  if (typeof errorCode === 'string' && errorCode !== '') return DENIED.test(errorCode) ? 'denied' : 'failure'
  const said = fit.at(record.responseElements, String(eventName))
  return said === 'Failure' || (typeof errorMessage === 'string' && errorMessage !== '') ? 'failure' : 'success'
}

const BILLING =
  /^(billing|billingconsole|ce|cur|budgets|payments|tax|invoicing|freetier|consolidatedbilling|savingsplans)$/
const SIGN_IN = /^(signin|sso|sso-oauth|rolesanywhere)$/
const CREDENTIALS = /^(AssumeRole|GetSessionToken|GetFederationToken|AssumeRoot|CreateToken|CreateSession$)/
const WATCHING =
  /^(cloudtrail|config|guardduty|securityhub|logs|monitoring|organizations|account|iam|kms|sso-directory)$/
/** Calls that change who may do what, wherever they are made. */
const PERMISSION =
  /((?<!Retention|Lifecycle|Scaling|Backup|Replication)Policy|Policies|Acl|Permission|Permissions|PermissionsBoundary|AccessBlock|Grant|Membership)(\d{8}.*)?$|^(AddUserToGroup|RemoveUserFromGroup|AddRoleToInstanceProfile)|^Modify(Image|Snapshot|DBSnapshot|DBClusterSnapshot)Attribute$|^(CreateRole|DeleteRole)$/

function categoryOf(service: string, name: string, record: JsonObject): Category {
  if (BILLING.test(service)) return 'billing'
  if (SIGN_IN.test(service) || (service === 'sts' && CREDENTIALS.test(name))) return 'authentication'
  if (record.readOnly === true || (record.readOnly !== false && /^(Get|List|Describe|Head|Lookup)/.test(name))) {
    return 'data_access'
  }
  if (PERMISSION.test(name)) return 'authorization'
  return WATCHING.test(service) ? 'administration' : 'mutation'
}

function contextOf(service: string, record: JsonObject): Context | undefined {
  const key = fit.identifier(fit.at(record.userIdentity, 'accessKeyId'))
  // ASIA… are the keys of one temporary session, AKIA… are lasting keys (IAM unique identifiers).
  const temporary = key?.startsWith('ASIA')
  return fit.context({
    ip: record.sourceIPAddress,
    user_agent: record.userAgent,
    request_id: record.requestID,
    session_id: temporary ? key : undefined,
    auth_method: service === 'signin' || temporary ? 'session' : key === undefined ? undefined : 'api_key',
    api_key: key === undefined || temporary ? undefined : { id: key },
  })
}

/** What the event does not say already, under the names of CloudTrail. */
function remainder(record: JsonObject, targetsCut: boolean): JsonObject {
  for (const key of ['eventTime', 'requestID', 'eventVersion']) delete record[key]
  if (fit.ipAddress(record.sourceIPAddress) !== undefined) delete record.sourceIPAddress
  if (typeof record.userAgent === 'string' && record.userAgent.length <= 1024) delete record.userAgent
  if (isObject(record.userIdentity)) {
    const identity = { ...record.userIdentity }
    if (fit.identifier(identity.arn) !== undefined) delete identity.arn
    if (fit.identifier(identity.accessKeyId) !== undefined || identity.accessKeyId === '') delete identity.accessKeyId
    if (identity.type === 'AWSService') delete identity.invokedBy
    record.userIdentity = identity
  }
  // Resources became targets; what a target cannot hold stays.
  const resources = fit.objects(record.resources)
  const left = targetsCut ? resources : resources.filter((one) => !isTargetAlone(one, record.recipientAccountId))
  if (left.length > 0) record.resources = left
  else delete record.resources
  return record
}

function isTargetAlone(resource: JsonObject, account: unknown): boolean {
  const arn = resource.ARN ?? resource.ARNPrefix
  if (fit.identifier(arn) === undefined || isPersonArn(arn)) return isPersonArn(arn)
  return resource.accountId === undefined || resource.accountId === account
}
