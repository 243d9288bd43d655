// What an API key may do. One table: the server checks by it, the reference documentation lists it.

export const scopes = {
  'events:write': 'Record events.',
  'events:read': 'Search and read events, their content and proofs.',
  'events:confidential': 'Read values that a policy keeps confidential.',
  verify: 'Read checkpoints, tiles and proofs, without content.',
  'tenants:read': 'List tenants, read their settings.',
  'tenants:create': 'Make tenants, also by recording an event for one that does not exist yet.',
  'tenants:write': 'Change settings of tenants.',
  'keys:manage':
    'Make, list and revoke API keys of the own tenant; with an operator key, all. No key hands on a scope it lacks.',
  'forget:read': 'See requests to forget, legal holds and what waits for them.',
  'forget:request':
    'Ask that people be forgotten, payloads removed, holds released, retention changed, a tenant deleted; another key approves.',
  'forget:approve': 'Approve or reject what another key asked to be forgotten.',
  'holds:place': 'Place legal holds.',
  'keys:rotate': 'Rotate encryption keys of tenants and, with an operator key, the signing key of the log.',
  operator: 'See what only the operator may see: session ids and raw key ids. Operator keys only.',
} as const satisfies Record<string, string>

export type Scope = keyof typeof scopes

export const isScope = (text: string): text is Scope => Object.hasOwn(scopes, text)

/** Scopes that reach beyond one tenant: a key bound to a tenant cannot have them. */
export const operatorScopes: ReadonlySet<Scope> = new Set(['tenants:create', 'operator'])
