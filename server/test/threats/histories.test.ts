// The operator makes a second history out of a copy of everything, with every key at hand, and shows it to whom it likes.
// One witness is honest; two others sign whatever the operator wants.
import { setTimeout as sleep } from 'node:timers/promises'
import { cosign, formatSignature, parseNote } from '@affidavit/trail'
import { afterAll, beforeAll, expect } from 'vitest'
import { createAffidavit, memoryReceipts } from '../../../sdk/src/index.ts'
import { judgeAccusation } from './accused.ts'
import { Deployment, type Stopped, TENANT } from './deployment.ts'
import { answerOf, Front, frozen } from './front.ts'
import { attack, changes, signRegistryAnew, signTrailAnew } from './operator.ts'
import { attacked, PATIENCE_MS } from './table.ts'
import { type Place, Visitor } from './visitor.ts'

let honest: Deployment
/** A copy with the same past up to the visit, and another one after it. */
let backup: Deployment
/** A copy in which the past was rewritten. */
let forged: Deployment
let visitor: Visitor

beforeAll(async () => {
  honest = await Deployment.start({ witnesses: ['honest', 'bought', 'bribed'] })
  await honest.record(299)
  await honest.bound()
  // From here on the copy makes no epochs unless it is told to.
  backup = await honest.copy({ interval_ms: 60_000 })
  await honest.record(40)
  await honest.bound()
  visitor = await Visitor.of(honest)
  await visitor.keep(honest.service)
  forged = await honest.copy({ before: rewrite, interval_ms: 60_000 })
}, PATIENCE_MS)

afterAll(async () => {
  await forged?.stop()
  await backup?.stop()
  await honest?.stop()
})

/** One of each, and everything made anew that is derived from entries. */
async function rewrite(stopped: Stopped): Promise<void> {
  await attack(stopped, async (superuser, trail) => {
    await superuser.query(changes.edit(trail, 100))
    await superuser.query(changes.remove(trail, 150))
    await superuser.query(changes.reorder(trail, 200))
    await superuser.query(changes.insert(trail, 280))
  })
  await signTrailAnew(stopped)
  await signRegistryAnew(stopped)
}

attacked('rewrites the tail after sealing, and signs trail and registry anew', async (threat) => {
  await visitor.judge(threat, forged.service)
  expect((await visitor.visitOffline(forged.service, 'vkey')).outcome).toBe('held')
  expect((await visitor.visitOffline(forged.service, 'witnesses')).outcome).toBe('unchecked')
  expect((await visitor.visitOffline(honest.service, 'witnesses')).outcome).toBe('held')
  threat.judge('also', await visitor.visitOffline(forged.service, 'state'))
})

attacked('forks one tenant, and leaves the registry as it is', async (threat) => {
  const isTrail = (path: string) => path.startsWith('/v1/trails/') && !path.includes('/slot')
  const front = await Front.start(honest.service.key, (path) =>
    answerOf(isTrail(path) ? forged.service : honest.service, path),
  )
  try {
    await visitor.judge(threat, front)
  } finally {
    await front.stop()
  }
})

attacked('shows two customers two histories', async (threat) => {
  for (const brought of ['nothing', 'vkey', 'witnesses'] as const)
    threat.judge(brought, await visitor.visit(forged.service, brought))
  // The other customer sees the other history, and nothing wrong with it.
  expect((await visitor.visit(honest.service, 'vkey')).outcome).toBe('held')
  threat.judge('also', await visitor.ask(forged.service, '--checkpoint', visitor.state))
})

attacked('puts an old backup back', async (threat) => {
  await visitor.judge(threat, backup.service)
  threat.judge('also', await visitor.visit(backup.service, 'witnesses', '--max-age', '2s'))
})

attacked('lets two copies seal at once', async (threat) => {
  const store = memoryReceipts()
  const client = ({ url, key }: Place) =>
    createAffidavit({ url, key, flushBeforeExit: false, receipts: { store, vkeys: [visitor.vkey] } })
  const event = { action: 'user.login', actor: { type: 'user', id: 'user_1' }, tenant: TENANT } as const
  const { seq } = await client(backup.service).record(event)
  expect(seq).toBeLessThan(await honest.sealed()) // the other copy has sealed something else there
  await backup.notarized(seq + 1)
  await visitor.judge(threat, backup.service)
  // Sooner or later the sender sees what everybody sees.
  await judgeAccusation(threat, client(honest.service), visitor, seq)
})

attacked('has witnesses that collude, all but one', async (threat) => {
  await attack(forged, async (superuser) => {
    const { rows } = await superuser.query<{ size: number; note: string }>(
      'select size, note from affidavit.registry_notes order by size desc limit 1',
    )
    const { size, note } = rows[0]!
    for (const { name, state } of honest.witnesses.slice(1))
      await superuser.query(
        `insert into affidavit.registry_cosignatures (size, witness, line, cosigned_at) values ($1, $2, $3, now())`,
        [
          size,
          `witness.test/${name}`,
          formatSignature(await cosign(parseNote(note).text, state.signer, Math.floor(Date.now() / 1000))),
        ],
      )
  })
  await visitor.judge(threat, forged.service)
  threat.judge('also', await visitor.visit(forged.service, 'witnesses', '--quorum', '2'))
})

attacked('shows a stale view', async (threat) => {
  const front = await Front.start(honest.service.key, frozen(honest.service))
  try {
    await visitor.visit(front, 'witnesses') // what is seen now is what will be seen
    for (const brought of ['nothing', 'vkey', 'witnesses'] as const)
      threat.judge(brought, await visitor.visit(front, brought))
    await honest.record(5)
    await honest.bound()
    await visitor.keep(honest.service)
    threat.judge('state', await visitor.visit(front, 'state'))
    await sleep(2_000)
    threat.judge('also', await visitor.visit(front, 'witnesses', '--max-age', '2s'))
  } finally {
    await front.stop()
  }
})
