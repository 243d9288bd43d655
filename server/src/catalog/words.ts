/**
 * What the words of an action say about it. Actions nobody registered still need a category, an outcome and a
 * sentence, and their names carry all three: `invoice.download`, `authorization_failure`, `s3.GetObject`.
 */

import type { Category } from './category.ts'
import { baseOf } from './verbs.ts'

/** Lower-case words per segment: `s3.GetObject` → [['s3'], ['get', 'object']]. */
export function wordsOf(action: string): string[][] {
  return action
    .split(/[.:/]+/)
    .map((segment) =>
      segment
        .replace(/([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])/g, '$1$3 $2$4')
        .toLowerCase()
        .split(/[\s_-]+/)
        .filter((word) => word !== ''),
    )
    .filter((words) => words.length > 0)
}

const reads = new Set(
  'view read download export list get search query print preview fetch describe head lookup select browse'.split(' '),
)
/** Ordered: the words of the first category that fits decide. */
const signs: readonly (readonly [Category, Set<string>])[] = [
  [
    'authentication',
    new Set(
      `login logout logon logoff signin signout authentication authenticated authenticate password mfa 2fa otp totp
       passkey webauthn sso saml session sessions credential credentials lockout reauthentication`.split(/\s+/),
    ),
  ],
  [
    'authorization',
    new Set(
      `authorization authorized authorize permission permissions role roles acl acls rbac privilege privileges
       entitlement entitlements grant granted grants revoke revoked denied forbidden unauthorized unauthorised`.split(
        /\s+/,
      ),
    ),
  ],
  [
    'billing',
    new Set(
      `billing invoice invoices payment payments subscription subscriptions refund refunds refunded charge charges
       charged coupon coupons credit credits checkout card price prices tax dunning payout payouts`.split(/\s+/),
    ),
  ],
  [
    'administration',
    new Set(
      `settings setting config configuration organization organisation tenant tenants workspace webhook webhooks
       integration integrations domain domains retention policy policies key keys scim directory region plugin plugins
       stream streams audit license licenses feature environment`.split(/\s+/),
    ),
  ],
]

/** The category that the words give, or undefined when none of them says anything. */
export function categoryOfWords(action: string): Category | undefined {
  const segments = wordsOf(action)
  const last = segments.at(-1)
  if (last === undefined) return undefined
  const all = segments.flat()
  if (isRead(last.at(-1)!) || (last.length > 1 && isRead(last[0]!))) return 'data_access'
  const pair = all.join(' ')
  if (/\b(?:sign|log|signed|logged) (?:in|out|on|off)\b/.test(pair)) return 'authentication'
  const found = signs.find(([, words]) => all.some((word) => words.has(word)))?.[0]
  const isAccess = baseOf(last.at(-1)!) === 'access' && found !== 'authentication' && found !== 'authorization'
  return isAccess ? 'data_access' : found
}

function isRead(word: string): boolean {
  return reads.has(baseOf(word) ?? word)
}

const failures = new Set(['failed', 'failure', 'fail', 'error', 'errored', 'unsuccessful'])
const denials = new Set(['denied', 'forbidden', 'unauthorized', 'unauthorised'])

/** The outcome that an action's name implies; a failed authorization is a denial. */
export function outcomeOfWords(action: string): 'failure' | 'denied' | undefined {
  if (!mayTellOutcome.test(action)) return undefined
  const segments = wordsOf(action)
  const last = segments.at(-1)
  if (last === undefined) return undefined
  const word = last.at(-1)!
  if (denials.has(word)) return 'denied'
  if (!failures.has(word) && last[0] !== 'failed') return undefined
  return segments.flat().includes('authorization') ? 'denied' : 'failure'
}

/** Cheap enough for every event; most actions end here. */
const mayTellOutcome = /fail|error|success|denied|forbidden|unauthori/i
