// What the tests of forgetting share: a server, two keys that are two principals, and the offline verifier as judge.
import { PackReader, parseVkey, sha256, type Verification, verifyEd25519, verifyPack } from '@affidavit/trail'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

/** Two keys of a server, whoever runs it. */
export interface TwoPrincipals {
  readonly database: TestDatabase
  /** The operator key: it asks. */
  readonly api: Api
  /** Another key, which approves. */
  readonly second: Api
}

export interface Forgetter extends TwoPrincipals {
  readonly server: StartedServer
  stop(): Promise<void>
}

export const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

export async function forgetter(settings: Readonly<Record<string, string>> = {}): Promise<Forgetter> {
  const database = await freshDatabase()
  const server = await startedServer(database.url, settings)
  const api = await Api.of(server.url, server.key)
  const made = await api.post('/v1/keys', {
    name: 'Second principal',
    scopes: ['forget:read', 'forget:approve', 'forget:request'],
  })
  return {
    database,
    server,
    api,
    second: api.with(made.body.key),
    stop: async () => {
      await server.stop()
      await database.drop()
    },
  }
}

/** An approved request, as it is after its approval. */
export async function carriedOut({ api, second }: Pick<TwoPrincipals, 'api' | 'second'>, path: string, body: object) {
  const asked = await api.post(path, body)
  if (asked.status !== 202) throw new Error(`${path}: ${asked.status} ${JSON.stringify(asked.body)}`)
  return (await second.post(`/v1/approvals/${asked.body.id}`, { decision: 'approve' })).body
}

/** What everybody who keeps the key of the trail concludes from a pack of the whole of it. */
export async function judged(
  api: Api,
  tenant: string,
  options: { now?: number; graceMs?: number; from?: number } = {},
): Promise<Verification> {
  const { vkey } = (await api.get(`/v1/trails/${tenant}`)).body
  const { body } = await api.get(`/v1/trails/${tenant}/pack?from=${options.from ?? 0}`)
  const file = {
    size: body.length,
    read: async (at: number, length: number) => new Uint8Array(body.subarray(at, at + length)),
  }
  return verifyPack(await PackReader.open(sha256, file), {
    hash: sha256,
    verify: verifyEd25519,
    vkeys: [parseVkey(sha256, vkey)],
    ...options,
  })
}

/** Waits until everything sealed so far is under a checkpoint. */
export async function notarized(
  { api, database }: { readonly api: Api; readonly database: Pick<TestDatabase, 'superuser'> },
  tenant: string,
): Promise<number> {
  const { rows } = await database.superuser.query<{ size: string }>(
    `select h.size from affidavit.heads h join affidavit.trails t on t.number = h.trail join affidavit.tenants n on n.number = t.tenant
     where n.id = $1`,
    [tenant],
  )
  const size = Number(rows[0]!.size)
  for (const until = Date.now() + 60_000; Date.now() < until; await rest(50))
    if ((await api.get(`/v1/trails/${tenant}`)).body.size >= size) return size
  throw new Error(`the trail of ${tenant} does not get a checkpoint over ${size} entries`)
}

export const event = (tenant: string, person: string, more: object = {}) => ({
  tenant,
  action: 'user.role.updated',
  actor: { type: 'user', id: person, name: `Name of ${person}`, email: `${person}@example.com` },
  context: { ip: '192.0.2.7' },
  ...more,
})
