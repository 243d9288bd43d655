// The process behind rotation-kill.test.ts: one rotation of a tenant's key, or one request to forget, killed by SIGKILL right
// after its n-th step.
//   node rotation-kill-entry.ts <login as JSON> <data folder> <tenant> data|subject|<request> <n>
// prints the steps it took if it survives
import { setTimeout as sleep } from 'node:timers/promises'
import { forgetNode, Life } from './forget-node.ts'

const [login, dataDir, tenant, what, most] = process.argv.slice(2)
const killed = () => {
  process.kill(process.pid, 'SIGKILL')
  return new Promise<never>(() => {})
}
const life = new Life(Number(most), true, killed)
const node = await forgetNode({ login: JSON.parse(login!), dataDir: dataDir!, life })
const found = await node.tenant(tenant!)
life.revive(Number(most))
if (what === 'data') await node.rotation.dataKey(found)
else if (what === 'subject') await node.rotation.subjectKey(found, true)
else while ((await node.forgetting.run(what!)) === 'later') await wait()
console.log(life.steps)
await node.stop()

/** The locks of one that was killed are held until PostgreSQL notices. */
async function wait(): Promise<void> {
  await sleep(20)
  life.revive(Number(most))
}
