// Times: an operator whose clock says what it likes, and payloads that outlive their announced end. Days pass between the
// parts of this file; they are one history.
import { afterAll, beforeAll } from 'vitest'
import { forgetNode } from '../forget-node.ts'
import { Deployment, TENANT } from './deployment.ts'
import { attack } from './operator.ts'
import { attacked, PATIENCE_MS } from './table.ts'
import { Visitor } from './visitor.ts'

/** Hours ago. */
const [begun, pruned, audited] = [-74, -49, -26]
const struck = 20
let deployment: Deployment
let visitor: Visitor

beforeAll(async () => {
  deployment = await Deployment.start({ clock: `${begun} hours` })
  await deployment.put(`/v1/tenants/${TENANT}`, { policy: { retention_days: 1 } })
  await deployment.record(40)
  await deployment.bound()
  await deployment.clock(`${pruned} hours`)
  await attack(deployment, (superuser) =>
    superuser.query('create table public.events as select * from affidavit.events'),
  )
  await deployment.post('/v1/prunes', { tenant: TENANT })
  await deployment.bound()
  await deployment.clock(`${audited} hours`)
  await deployment.epoch()
  visitor = await Visitor.of(deployment)
  await deployment.clock('0')
  await deployment.epoch()
  await visitor.keep(deployment.service)
}, PATIENCE_MS)
afterAll(() => deployment?.stop())

attacked('serves a payload after its prune', async (threat) => {
  const columns = ['facts', 'facts_salt', 'personal', 'terms']
  const from = (table: string) =>
    `update affidavit.events e set ${columns.map((column) => `${column} = o.${column}`)} from ${table} o
       where o.trail = e.trail and o.seq = e.seq and e.seq = ${struck}`
  await attack(deployment, async (superuser) => {
    await superuser.query('create table public.pruned as select * from affidavit.events')
    await superuser.query(from('public.events'))
  })
  await visitor.judge(threat, deployment.service, { seq: struck })
  await attack(deployment, (superuser) => superuser.query(from('public.pruned')))
})

attacked('seals today what shall look like last week', async (threat) => {
  const first = await deployment.sealed()
  await deployment.clock(`${pruned + 1} hours`)
  await deployment.record(3)
  await deployment.clock('0')
  await deployment.bound()
  await visitor.judge(threat, deployment.service, { seq: first })
})

attacked('prunes before the time is up', async (threat) => {
  const [told] = await deployment.record(3)
  const node = await forgetNode({ login: deployment.database.url, dataDir: deployment.server.folder })
  try {
    const tenant = await node.tenant(TENANT)
    await node.announce(tenant, { kind: 'prune', category: 'mutation', before: await deployment.sealed() })
  } finally {
    await node.stop()
  }
  await attack(deployment, (superuser, trail) =>
    superuser.query(
      `update affidavit.events set facts = null, facts_salt = null, terms = array[]::int[]
         where trail = $1 and seq >= $2 and control is null`,
      [trail, told!.seq],
    ),
  )
  await deployment.bound()
  await visitor.judge(threat, deployment.service, { seq: told!.seq })
})
