// Tampering by a database superuser with every trigger off, on a trail of 530 entries under a checkpoint. After
// each attack an auditor takes a pack home and asks the verifier, and `affidavit verify` asks the running server; both
// know the key, and may have kept the checkpoint of the visit before. Every attack is undone afterwards. What does not
// depend on a trail's length has shorter ones of its own.
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CompactRange,
  commitText,
  concatBytes,
  decodeBundle,
  decodeEntry,
  type Entry,
  encodeEntry,
  formatCheckpoint,
  formatVkey,
  leafHash,
  type NoteSigner,
  parseVkey,
  signNote,
  TILE_WIDTH,
  toBase64,
} from '@affidavit/trail'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Told, verified } from '../../cli/test/command-line.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { sha256 } from '../src/store/sha256.ts'
import { checkpointOf, downloadPack, get, type Kept, notarized, type Service, verdictOf } from './check-trail.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { ServerHere } from './server-here.ts'

/** A tenant whose trail is attacked. */
interface Victim {
  readonly tenant: string
  readonly trail: number
  readonly vkey: string
}

const size = 530
/** Where an attacker strikes: in the second of three bundles. */
const struck = 300
const older = 400
let database: TestDatabase
let server: ServerHere
let service: Service
let folder: string
let victim: Victim
let kept: Kept
/** What the notary had stored when the trail had `older` entries. */
let past: { size: number; root: Buffer; range: Buffer; note: string }

const tables = ['events', 'event_ids', 'tiles', 'notarized', 'heads'] as const

beforeAll(async () => {
  database = await freshDatabase()
  await database.withoutEpochs()
  server = await ServerHere.start({ databaseUrl: database.url, settings: { AFFIDAVIT_SCRUB_EVENTS: '0' } })
  service = { url: server.url, key: server.operatorKey }
  folder = await mkdtemp(join(tmpdir(), 'affidavit-tamper-'))
  await recorded('victim', 0, older)
  const { rows } = await database.superuser.query(
    `select n.* from affidavit.notarized n join affidavit.trails t on t.number = n.trail
       join affidavit.tenants o on o.number = t.tenant where o.id = 'victim'`,
  )
  past = rows[0]
  victim = await recorded('victim', older - 1, size)
  const pack = await downloadPack(service, victim.tenant)
  kept = { vkey: victim.vkey, checkpoint: await checkpointOf(pack) }
  await writeFile(join(folder, 'kept.txt'), await pack.text('checkpoint'))
  await remember(victim)
})

afterAll(async () => {
  await server?.remove()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

/** For `undo`: the rows of a trail as they are now. */
async function remember({ trail }: Victim): Promise<void> {
  for (const table of tables)
    await database.superuser.query(
      `create table public.${table}_${trail} as select * from affidavit.${table} where trail = ${trail}`,
    )
}

async function undo({ trail }: Victim): Promise<void> {
  for (const table of tables)
    await attack(`delete from affidavit.${table} where trail = ${trail};
      insert into affidavit.${table} overriding system value select * from public.${table}_${trail}`)
}

/** Records until the trail has so many entries, all of them under a checkpoint. */
async function recorded(tenant: string, recordedBefore: number, wanted: number): Promise<Victim> {
  const events = Array.from({ length: wanted - 1 - recordedBefore }, (_, n) => {
    const i = recordedBefore + n
    return {
      id: `event-${i}`,
      tenant,
      action: i % 3 === 0 ? 'user.login' : 'document.updated',
      outcome: i % 10 === 0 ? 'failure' : 'success',
      actor: { type: 'user', id: `user_${i % 12}`, name: `Person ${i % 12}`, email: `p${i % 12}@example.com` },
      targets: [{ type: 'document', id: `doc_${i % 11}` }],
      context: { request_id: `req_${i % 20}`, ip: `10.1.1.${i % 12}` },
    }
  })
  const response = await fetch(`${service.url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(events),
  })
  expect(await response.json()).toMatchObject({ accepted: events.length, rejected: 0 })
  const { vkey } = await notarized(service, tenant, wanted)
  const { rows } = await database.superuser.query<{ number: number }>(
    'select t.number from affidavit.trails t join affidavit.tenants o on o.number = t.tenant where o.id = $1',
    [tenant],
  )
  return { tenant, trail: rows[0]!.number, vkey }
}

/** Runs SQL as a superuser with every trigger off. */
async function attack(sql: string): Promise<void> {
  // In one message, so that nothing of another test comes in between; what fails is rolled back, the setting with it.
  await database.superuser.query(
    `set session_replication_role = replica; ${sql}; set session_replication_role = origin`,
  )
}

/** What `affidavit verify URL` says to somebody who knows the key. */
const ask = ({ tenant, vkey }: Victim, ...more: string[]): Promise<Told> =>
  verified([service.url, '--tenant', tenant, '--key', service.key, '--vkey', vkey, ...more], {})
const askCommand = (...more: string[]) => ask(victim, ...more)
/** The checkpoint kept at the visit before. */
const memory = () => ['--checkpoint', join(folder, 'kept.txt')]

const askPackOf = async ({ tenant, vkey }: Victim) => verdictOf(await downloadPack(service, tenant), { vkey })
const askPack = async (withMemory = false) =>
  verdictOf(await downloadPack(service, victim.tenant), withMemory ? kept : { vkey: victim.vkey })

const ours = () => `trail = ${victim.trail}`
const at = (seq: number, { trail } = victim) => `trail = ${trail} and seq = ${seq}`
const update = (set: string, seq = struck, who = victim) => `update affidavit.events set ${set} where ${at(seq, who)}`

test('untouched, everything holds', async () => {
  expect((await askPack(true)).outcome).toBe('held')
  const told = await askCommand('--deep', ...memory())
  expect(told).toMatchObject({ outcome: 'held', exit_code: 0, assurance: 'anchored' })
})

interface Attack {
  sql: () => string
  /** First wrong seq, as the command names it. */
  first: number
  /** The same in a pack, which has no tiles to tell a wrong entry from its wrong neighbour by; default: `first`. */
  inPack?: number | 'held'
  /** A verdict that must have failed. */
  verdict: string
}

const attacks: Record<string, Attack> = {
  facts: { sql: () => update(`facts = replace(facts, 'doc_', 'dog_')`), first: struck, verdict: 'content' },
  'facts, one space': { sql: () => update(`facts = facts || ' '`), first: struck, verdict: 'content' },
  'facts removed': { sql: () => update('facts = null, facts_salt = null'), first: struck, verdict: 'absence' },
  salt: { sql: () => update('facts_salt = gen_random_uuid()'), first: struck, verdict: 'content' },
  commitment: { sql: () => update('facts_commitment = sha256(facts_commitment)'), first: struck, verdict: 'inclusion' },
  category: { sql: () => update('category = category % 6 + 1'), first: struck, verdict: 'inclusion' },
  // An entry's bytes hold the hash before it and not its own: what changes is the entry that follows.
  hash: { sql: () => update('hash = sha256(hash)'), first: struck + 1, verdict: 'chain' },
  'hash of the last entry': {
    sql: () => update('hash = sha256(hash)', size - 1),
    first: size - 1,
    inPack: 'held', // no entry follows, and a pack of the whole trail has no use for hashes that it can compute
    verdict: 'inclusion',
  },
  "the previous entry's hash": {
    sql: () => update('hash = sha256(hash)', struck - 1),
    first: struck,
    verdict: 'chain',
  },
  'sealing time': { sql: () => update(`sealed_at = sealed_at - interval '1 hour'`), first: struck, verdict: 'time' },
  'sealing time, one millisecond': {
    sql: () => update(`sealed_at = sealed_at + interval '1 millisecond'`),
    first: struck,
    verdict: 'inclusion',
  },
  'a line given to another person': {
    sql: () =>
      update(`personal = overlay(personal placing (select substring(personal for 16) from affidavit.events
        where ${at(struck + 1)}) from 1 for 16)`),
    first: struck,
    verdict: 'inclusion',
  },
  'one deleted': {
    sql: () => `delete from affidavit.events where ${at(struck)}`,
    first: struck,
    verdict: 'completeness',
  },
  'the last one deleted': {
    sql: () => `delete from affidavit.events where ${at(size - 1)}`,
    first: size - 1,
    verdict: 'completeness',
  },
  'two swapped': {
    sql: () => `update affidavit.events set seq = -1 - seq where ${ours()} and seq in (${struck}, ${struck + 9});
      update affidavit.events set seq = ${2 * struck + 9} + 1 + seq where ${ours()} and seq < 0`,
    first: struck,
    inPack: struck + 1,
    verdict: 'chain',
  },
  'one inserted, the others renumbered': {
    sql: () => `update affidavit.events set seq = -1 - seq where ${ours()} and seq >= ${struck};
      update affidavit.events set seq = -seq where ${ours()} and seq < 0;
      insert into affidavit.events select (jsonb_populate_record(e, '{"seq": ${struck}, "position": 1000000}')).*
        from affidavit.events e where ${at(struck - 100)};
      update affidavit.heads set size = size + 1 where ${ours()}`,
    first: struck,
    inPack: struck + 1,
    verdict: 'chain',
  },
}

/** Both verifiers see it and name the place. */
async function expectCaught({ first, inPack, verdict }: Omit<Attack, 'sql'>, who = victim): Promise<void> {
  const told = await ask(who)
  const short = told.findings
    .slice(0, 6)
    .map(({ verdict, code, seq, message }) => `${verdict} ${code} ${seq} ${message}`)
  expect(told, short.join('\n')).toMatchObject({ outcome: 'tampered', exit_code: 1, first_wrong: first })
  expect(told.verdicts[verdict]).toBe('failed')
  const pack = await askPackOf(who).catch((error: Error) => error.message)
  // A pack that cannot be made says so: by a problem, or by a file that breaks off.
  if (typeof pack === 'string') expect(pack).toMatch(/^pack: 5\d\d|terminated|truncated/)
  else if (inPack === 'held') expect(pack.outcome).toBe('held')
  else expect(pack).toMatchObject({ outcome: 'tampered', firstWrong: inPack ?? first })
}

describe('what was sealed is changed', () => {
  afterEach(() => undo(victim))

  test.each(Object.keys(attacks))('%s', async (name) => {
    await attack(attacks[name]!.sql())
    await expectCaught(attacks[name]!)
  })

  test('a server that cannot make a pack breaks off at once, and still answers', async () => {
    await attack(attacks['one deleted']!.sql())
    const started = Date.now()
    await expect(askPack()).rejects.toThrow()
    expect(Date.now() - started).toBeLessThan(20_000)
    expect((await get(service, '/readyz')).status).toBe(200)
    const range = await get(service, `/v1/trails/${victim.tenant}/content?from=0&to=10`)
    expect((await range.text()).trimEnd().split('\n')).toHaveLength(10)
  })
})

describe("people's values are changed", () => {
  // Each on a tenant of its own, which nobody has asked about before: a server may show for some seconds what it opened.
  const last = 20
  /** The first event of the person of event `last`. */
  const first = 1 + ((last - 1) % 12)
  const personaOf = (who: Victim, seq = last) =>
    `select ('x' || encode(substring(personal from 9 for 8), 'hex'))::bit(64)::bigint from affidavit.events
       where ${at(seq, who)}`

  test.each<[string, (who: Victim) => string]>([
    [
      'a ciphertext',
      (who) => `update affidavit.personas set content = set_byte(content, 20, get_byte(content, 20) # 1)
      where number = (${personaOf(who)})`,
    ],
    ['one deleted', (who) => `delete from affidavit.personas where number = (${personaOf(who)})`],
    [
      'two swapped',
      (who) => `update affidavit.personas p set content = q.content from affidavit.personas q
      where (p.number = (${personaOf(who)}) and q.number = (${personaOf(who, last - 1)}))
         or (q.number = (${personaOf(who)}) and p.number = (${personaOf(who, last - 1)}))`,
    ],
    // Side by side: the command waits ten seconds for a checkpoint that explains what is not there.
  ])('%s', { concurrent: true }, async (name, sql) => {
    const who = await recorded(name.replace(' ', '_'), 0, last + 1)
    await attack(sql(who))
    await expectCaught({ first: name === 'two swapped' ? first - 1 : first, verdict: 'absence' }, who)
  })
})

describe('a column only: packs hold, and --deep names the event that a filter loses or that is shown otherwise', () => {
  // A short trail: --deep asks about every value of every event.
  const edited = 8
  let short: Victim
  beforeAll(async () => {
    short = await recorded('short', 0, 13)
    await remember(short)
  })
  afterEach(() => undo(short))

  test.each([
    ['action', `action = (select max(number) from affidavit.actions a where a.number <> events.action)`],
    ['occurred_at', `occurred_at = occurred_at - interval '2 days'`],
    ['actor', 'actor = actor + 1'],
    ['terms', 'terms = array[]::int[]'],
    ['request', 'terms[1] = terms[1] + 1'],
    ['outcome', 'outcome = (outcome + 1) % 3'],
    ['late', 'flags = flags # 8'],
  ])('%s', async (_name, set) => {
    await attack(update(set, edited, short))
    expect((await askPackOf(short)).outcome).toBe('held')
    const told = await ask(short, '--deep')
    expect(told).toMatchObject({ outcome: 'tampered', exit_code: 1, first_wrong: edited })
    expect(told.verdicts.columns).toBe('failed')
  })
})

describe('tiles', () => {
  afterEach(() => undo(victim))

  test('a hash of leaves replaced: the command names the entry', async () => {
    await attack(`update affidavit.tiles set hashes = set_byte(hashes, ${32 * 44}, get_byte(hashes, ${32 * 44}) # 1)
      where ${ours()} and level = 0 and index = 1`)
    expect(await askCommand()).toMatchObject({ outcome: 'tampered', first_wrong: TILE_WIDTH + 44 })
  })

  test('a hash of subtrees replaced: the command names its first entry, and a pack that relies on it fails', async () => {
    await attack(`update affidavit.tiles set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)
      where ${ours()} and level = 1`)
    expect(await askCommand()).toMatchObject({ outcome: 'tampered', first_wrong: TILE_WIDTH })
    const pack = await downloadPack(service, victim.tenant, '?from=10&to=20')
    expect((await verdictOf(pack, { vkey: victim.vkey })).outcome).toBe('tampered')
  })
})

describe('the end or the past is replaced, and a verifier kept the checkpoint from before', () => {
  afterEach(() => undo(victim))

  /** The entries as the server shows them, changed at `struck` and chained anew. */
  async function rewritten(): Promise<{ entries: Entry[]; leaves: Uint8Array[] }> {
    const entries: Entry[] = []
    for (let index = 0; index * TILE_WIDTH < size; index++) {
      const width = Math.min(TILE_WIDTH, size - index * TILE_WIDTH)
      const partial = width < TILE_WIDTH ? `.p/${width}` : ''
      const response = await get(service, `/v1/trails/${victim.tenant}/tile/entries/00${index}${partial}`)
      for (const bytes of decodeBundle(new Uint8Array(await response.arrayBuffer()))!) entries.push(decodeEntry(bytes))
    }
    const { rows } = await database.superuser.query(
      `select facts, facts_salt from affidavit.events where ${at(struck)}`,
    )
    const salt = Buffer.from(rows[0].facts_salt.replaceAll('-', ''), 'hex')
    const forged = commitText(sha256, 'facts', salt, rows[0].facts.replace('doc_', 'dog_'))
    const leaves: Uint8Array[] = []
    const chained = entries.map((entry, seq) => {
      const next: Entry = {
        ...entry,
        ...(seq === struck && { facts: forged }),
        ...(seq > 0 && { previous: toBase64(leaves[seq - 1]!) }),
      }
      leaves.push(leafHash(sha256, Buffer.from(encodeEntry(next), 'latin1')))
      return next
    })
    return { entries: chained, leaves }
  }

  const hex = (bytes: Uint8Array) => `'\\x${Buffer.from(bytes).toString('hex')}'`

  /** Everything that is derived from entries, made anew, and signed by `signer`. */
  async function rewrite(signer: NoteSigner): Promise<void> {
    const { entries, leaves } = await rewritten()
    await attack(
      update(`facts = regexp_replace(facts, 'doc_', 'dog_'),
      facts_commitment = decode('${entries[struck]!.facts}', 'base64')`),
    )
    const hashes = leaves.map((leaf, seq) => `(${seq}, ${hex(leaf)}::bytea)`).join()
    await attack(`update affidavit.events e set hash = n.hash from (values ${hashes}) as n (seq, hash)
      where e.${ours()} and e.seq = n.seq`)
    const range = new CompactRange(sha256)
    const subtrees: Uint8Array[] = []
    for (const leaf of leaves) range.append(leaf)
    for (let index = 0; (index + 1) * TILE_WIDTH <= size; index++) {
      const tile = leaves.slice(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
      const subtree = new CompactRange(sha256)
      for (const leaf of tile) subtree.append(leaf)
      subtrees.push(subtree.root())
      await attack(`update affidavit.tiles set hashes = ${hex(concatBytes(tile))}
        where ${ours()} and level = 0 and index = ${index}`)
    }
    await attack(`update affidavit.tiles set hashes = ${hex(concatBytes(subtrees))} where ${ours()} and level = 1`)
    const note = await signNote(formatCheckpoint(kept.checkpoint!.origin, size, range.root()), [signer])
    await attack(`update affidavit.notarized set root = ${hex(range.root())}, range = ${hex(range.toBytes())},
      note = '${note}' where ${ours()}`)
  }

  test('the tail deleted, and an older checkpoint of our own put back', async () => {
    await attack(`delete from affidavit.events where ${ours()} and seq >= ${past.size};
      delete from affidavit.tiles where ${ours()} and level = 0 and index = 1;
      update affidavit.tiles set hashes = substring(hashes for 32) where ${ours()} and level = 1;
      update affidavit.heads set size = ${past.size}, hash = (select hash from affidavit.events
        where ${at(past.size - 1)}) where ${ours()};
      update affidavit.notarized set size = ${past.size}, root = ${hex(past.root)}, range = ${hex(past.range)},
        note = '${past.note}' where ${ours()}`)
    // Without memory nobody can know: that is what kept checkpoints, receipts and the registry are for.
    expect((await askPack()).outcome).toBe('held')
    expect(await askCommand(...memory())).toMatchObject({ outcome: 'tampered', first_wrong: past.size })
    // A pack may be older than what one has kept; it proves nothing about the rest.
    expect((await askPack(true)).outcome).toBe('unchecked')
  })

  test('the past rewritten and signed with the real log key', async () => {
    const keys = await openKeys({ keeper: database.store.pool('keeper'), folder: join(server.folder, 'keys') })
    await rewrite(keys.logKey.signer(kept.checkpoint!.origin))
    expect((await askPack()).outcome).toBe('held')
    expect(await askPack(true)).toMatchObject({
      outcome: 'tampered',
      verdicts: { signature: 'held', consistency: 'failed' },
    })
    expect(await askCommand(...memory())).toMatchObject({ outcome: 'tampered', verdicts: { consistency: 'failed' } })
  })

  test('the past rewritten and signed with another key of the same name', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const name = kept.checkpoint!.origin
    const { id } = parseVkey(
      sha256,
      formatVkey(sha256, name, publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
    )
    await rewrite({ name, id, sign: (message) => sign(null, message, privateKey) })
    expect(await askPack()).toMatchObject({ outcome: 'tampered', verdicts: { signature: 'failed' } })
    expect(await askCommand()).toMatchObject({ outcome: 'tampered', verdicts: { signature: 'failed' } })
  })

  test('only the checkpoint replaced', async () => {
    await attack(`update affidavit.notarized set note = replace(note, E'\\n${size}\\n', E'\\n${size - 1}\\n'),
      size = ${size - 1} where ${ours()}`)
    expect(await askPack()).toMatchObject({ outcome: 'tampered', verdicts: { signature: 'failed' } })
    expect(await askCommand()).toMatchObject({ outcome: 'tampered', verdicts: { signature: 'failed' } })
  })
})
