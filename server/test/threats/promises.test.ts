// What was promised to one person: that an acknowledged event stays, and that what was erased is gone.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { commitText, decodeContent, type SaltedPart, saltBytes } from '@affidavit/trail'
import { afterAll, beforeAll, expect } from 'vitest'
import { createAffidavit, memoryReceipts } from '../../../sdk/src/index.ts'
import { sha256 } from '../../src/store/sha256.ts'
import { get } from '../check-trail.ts'
import { judgeAccusation } from './accused.ts'
import { Deployment, TENANT } from './deployment.ts'
import { attack, changes, signTrailAnew } from './operator.ts'
import { attacked, PATIENCE_MS, type Threat } from './table.ts'
import { Visitor } from './visitor.ts'

let deployment: Deployment
let visitor: Visitor

beforeAll(async () => {
  deployment = await Deployment.start()
  await deployment.record(20)
  await deployment.bound()
  visitor = await Visitor.of(deployment)
  await visitor.keep(deployment.service)
}, PATIENCE_MS)
afterAll(() => deployment?.stop())

attacked('drops an event after acknowledging it, before an epoch binds it', async (threat) => {
  // Epochs are rare, as they are in earnest: the attacker has time between two of them.
  const log = await deployment.copy({ interval_ms: 60_000 })
  try {
    await drop(threat, log)
  } finally {
    await log.stop()
  }
})

async function drop(threat: Threat, log: Deployment): Promise<void> {
  const sender = createAffidavit({
    url: log.service.url,
    key: log.service.key,
    flushBeforeExit: false,
    receipts: { store: memoryReceipts(), vkeys: [visitor.vkey] },
  })
  const { seq } = await sender.record({
    tenant: TENANT,
    action: 'user.role.updated',
    actor: { type: 'user', id: 'user_1' },
  })
  await log.record(3)
  await log.while(async (stopped) => {
    await attack(stopped, (superuser, trail) => superuser.query(changes.remove(trail, seq)))
    await signTrailAnew(stopped)
  })
  await visitor.judge(threat, log.service)
  await judgeAccusation(threat, sender, visitor, seq)
}

const person = { type: 'user', id: 'user_guessed', name: 'Erin Guessable', email: 'erin@guess.example' }

/** What the server shows of an entry's one person; undefined where that person is erased. */
async function personOf(seq: number): Promise<SaltedPart | undefined> {
  await deployment.notarized(seq + 1)
  const line = await (await get(deployment.service, `/v1/trails/${TENANT}/content?from=${seq}&to=${seq + 1}`)).text()
  return decodeContent(line.trimEnd()).personal?.[0]
}

/** The commitment in the entry, which stays. */
async function committed(seq: number): Promise<string> {
  let personal = Buffer.alloc(0)
  await attack(deployment, async (superuser, trail) => {
    const { rows } = await superuser.query('select personal from affidavit.events where trail = $1 and seq = $2', [
      trail,
      seq,
    ])
    personal = rows[0].personal
  })
  return personal.subarray(16, 48).toString('base64')
}

const opens = async ({ salt, content }: SaltedPart, seq: number) =>
  commitText(sha256, 'personal', saltBytes(salt)!, content) === (await committed(seq))

/** All that the operator has: every row of every table, and every file. */
async function everything(): Promise<string> {
  const parts: string[] = []
  await attack(deployment, async (superuser) => {
    const { rows } = await superuser.query<{ name: string }>(
      `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables
         where schemaname in ('affidavit', 'keeper')`,
    )
    for (const { name } of rows)
      for (const { row } of (await superuser.query<{ row: string }>(`select t::text as row from ${name} t`)).rows)
        parts.push(row)
  })
  const { folder } = deployment.server
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) parts.push((await readFile(join(entry.parentPath, entry.name))).toString('hex'))
  return parts.join('\n')
}

const hexOf = (value: string | Uint8Array) => Buffer.from(value).toString('hex')

/** Erased by two principals, as it must be. */
async function erase(subject: object): Promise<void> {
  const { key } = (await deployment.post('/v1/keys', {
    name: 'Second',
    scopes: ['forget:read', 'forget:approve'],
  })) as { key: string }
  const asked = await deployment.post('/v1/erasures', { tenant: TENANT, subject, reason: 'asked for it' })
  const { id } = asked as { id: string }
  await deployment.post(`/v1/approvals/${id}`, { decision: 'approve' }, key)
}

attacked('guesses erased values from their hashes', async () => {
  const [told] = await deployment.record(1, { actor: person })
  const { seq } = told!
  const part = (await personOf(seq))!
  // The attacker guesses right: these are the very bytes. While the salt is there, that shows.
  expect(part.content).toContain(person.email)
  expect(await opens(part, seq)).toBe(true)
  await erase({ type: person.type, id: person.id })
  await expect.poll(() => personOf(seq), { timeout: 60_000 }).toBeUndefined()
  const commitment = Buffer.from(await committed(seq), 'base64')
  const all = await everything()
  expect(all).toContain(hexOf(commitment))
  // Neither the salt nor the values are anywhere, nor a hash of the values that needs no salt.
  const tag = Buffer.from('affidavit/1 personal\n')
  const values = [part.content, person.email, person.name]
  for (const gone of [
    hexOf(saltBytes(part.salt)!),
    ...values.flatMap((value) => [value, hexOf(value), hexOf(sha256(Buffer.from(value)))]),
    ...values.map((value) => hexOf(sha256(Buffer.concat([tag, Buffer.from(value)])))),
  ])
    expect(all.includes(gone), gone).toBe(false)
  // Everything else is as provable as before.
  await deployment.bound()
  expect((await visitor.visit(deployment.service, 'witnesses')).outcome).toBe('held')
})

attacked('keeps a copy of a salt or key from before the erasure', async (threat) => {
  const [told] = await deployment.record(1, { actor: { ...person, id: 'user_copied' } })
  const { seq } = told!
  const copied = (await personOf(seq))!
  await erase({ type: person.type, id: 'user_copied' })
  await expect.poll(() => personOf(seq), { timeout: 60_000 }).toBeUndefined()
  expect(await opens(copied, seq)).toBe(true) // gone from the log, not from the copy
  await deployment.bound()
  threat.judge('also', await visitor.visit(deployment.service, 'witnesses'))
})
