// Who a person is, for the purpose of being one subject: type and id if there is one, else the e-mail address, else
// nobody known, which is one subject per tenant and UTC day.

export type Identity = { readonly type: string; readonly id: string } | { readonly email: string } | 'unknown'

/**
 * One text per identity, and no text for two: `i<length of type>:<type><id>`, `e<e-mail>`, `u<UTC day>`. The subject's
 * token is a keyed hash of it. E-mail addresses are compared in lower case.
 *
 * @param now_ms decides the day of an unknown person
 */
export function identityText(identity: Identity, now_ms: number): string {
  if (identity === 'unknown') return `u${day(now_ms)}`
  if ('email' in identity) return `e${identity.email.trim().toLowerCase()}`
  return `i${identity.type.length}:${identity.type}${identity.id}`
}

let lastDay = { from_ms: 0, text: '1970-01-01' }

function day(now_ms: number): string {
  const from_ms = now_ms - (now_ms % 86_400_000)
  if (from_ms !== lastDay.from_ms) lastDay = { from_ms, text: new Date(from_ms).toISOString().slice(0, 10) }
  return lastDay.text
}
