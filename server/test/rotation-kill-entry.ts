// The process behind rotation-kill.test.ts: one rotation of a tenant's key, killed by SIGKILL right after its n-th step.
//   node rotation-kill-entry.ts <login as JSON> <data folder> <tenant> data|subject <n>      prints the steps it took if it survives
import { forgetNode, Life } from './forget-node.ts'

const [login, dataDir, tenant, key, most] = process.argv.slice(2)
const killed = () => {
  process.kill(process.pid, 'SIGKILL')
  return new Promise<never>(() => {})
}
const life = new Life(Number(most), true, killed)
const node = await forgetNode({ login: JSON.parse(login!), dataDir: dataDir!, life })
const found = await node.tenant(tenant!)
life.revive(Number(most))
if (key === 'data') await node.rotation.dataKey(found)
else await node.rotation.subjectKey(found, true)
console.log(life.steps)
await node.stop()
