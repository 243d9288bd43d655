// A database superuser changes what is sealed and leaves everything else alone: each change contradicts a hash, a
// commitment or the checkpoint. Every attack is undone afterwards.
import { afterAll, afterEach, beforeAll } from 'vitest'
import { Deployment } from './deployment.ts'
import { attack, changes } from './operator.ts'
import { attacked, PATIENCE_MS, type Threat } from './table.ts'
import { Visitor } from './visitor.ts'

/** Where an attacker strikes: in the second of two tiles. */
const struck = 280
const tables = ['events', 'event_ids', 'heads', 'tiles', 'notarized']
let deployment: Deployment
let visitor: Visitor

beforeAll(async () => {
  deployment = await Deployment.start()
  await deployment.record(299)
  await deployment.bound()
  visitor = await Visitor.of(deployment)
  await visitor.keep(deployment.service)
  await attack(deployment, async (superuser) => {
    for (const table of tables)
      await superuser.query(`create table public.${table} as select * from affidavit.${table}`)
  })
}, PATIENCE_MS)
afterAll(() => deployment?.stop())

afterEach(() =>
  attack(deployment, async (superuser) => {
    for (const table of tables) {
      await superuser.query(`delete from affidavit.${table}`)
      await superuser.query(`insert into affidavit.${table} overriding system value select * from public.${table}`)
    }
  }),
)

async function changed(threat: Threat, sql: (trail: number) => string, seq = struck): Promise<void> {
  await attack(deployment, (superuser, trail) => superuser.query(sql(trail)))
  await visitor.judge(threat, deployment.service, { seq })
}

attacked('edits an entry', (threat) => changed(threat, (trail) => changes.edit(trail, struck)))
attacked('deletes an entry', (threat) =>
  changed(threat, (trail) => `delete from affidavit.events where trail = ${trail} and seq = ${struck}`),
)
attacked('reorders entries', (threat) => changed(threat, (trail) => changes.reorder(trail, struck)))
attacked('inserts an entry', (threat) => changed(threat, (trail) => changes.insert(trail, struck)))

attacked('removes a payload without a word', (threat) =>
  changed(
    threat,
    (trail) => `update affidavit.events set facts = null, facts_salt = null where trail = ${trail} and seq = ${struck}`,
  ),
)

attacked('edits only a column, so that a filter misses an event', async (threat) => {
  await changed(
    threat,
    (trail) => `update affidavit.events set action = action + 1000 where trail = ${trail} and seq = ${struck}`,
  )
  threat.judge('also', await visitor.visit(deployment.service, 'nothing', '--deep'), struck)
})
