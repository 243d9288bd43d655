// Whose word counts: a clock that is put back, a log key that nobody announced, a witness whose answers are wrong.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { Deployment, keysOf, type Stopped } from './deployment.ts'
import { attack, signRegistryAnew, signTrailAnew } from './operator.ts'
import { attacked, PATIENCE_MS } from './table.ts'
import { Visitor } from './visitor.ts'

let deployment: Deployment
let visitor: Visitor

beforeAll(async () => {
  deployment = await Deployment.start({ clock: '-30 minutes' })
  await deployment.record(20)
  await deployment.bound()
  await deployment.clock('0')
  await deployment.epoch()
  visitor = await Visitor.of(deployment)
  await visitor.keep(deployment.service)
}, PATIENCE_MS)
afterAll(() => deployment?.stop())

async function replaceKey(stopped: Stopped): Promise<void> {
  await attack(stopped, async (superuser) => {
    await superuser.query(`delete from affidavit.settings where name = 'deployment'`)
    await rm(join(stopped.folder, 'keys', 'log.key'))
    const { logKey } = await keysOf(stopped.database, stopped.folder)
    await superuser.query('update affidavit.registry set log_key = $1', [logKey.publicKey])
  })
  await signTrailAnew(stopped)
  await signRegistryAnew(stopped)
}

attacked('replaces the log key, and announces no successor', async (threat) => {
  const replaced = await deployment.copy({ before: replaceKey, halt: true })
  try {
    await visitor.judge(threat, replaced.service)
  } finally {
    await replaced.stop()
  }
})

attacked('passes on what a witness answered wrongly', async (threat) => {
  // That of an earlier checkpoint, under all later ones.
  const before = (stopped: Stopped) =>
    attack(stopped, (superuser) =>
      superuser.query(`update affidavit.registry_cosignatures set line =
        (select line from affidavit.registry_cosignatures order by size limit 1)`),
    )
  const misled = await deployment.copy({ before, interval_ms: 60_000, halt: true })
  try {
    await visitor.judge(threat, misled.service)
  } finally {
    await misled.stop()
  }
})

attacked('seals now what shall look like earlier today', async (threat) => {
  await deployment.clock('-20 minutes')
  const [told] = await deployment.record(3)
  await deployment.clock('0')
  await deployment.bound()
  await visitor.judge(threat, deployment.service, { seq: told!.seq })
})
