// A registry in a process of its own, for tests that kill it.
//   node registry-process-entry.ts LOGIN OBJECTS STEP     makes one epoch and kills itself at the step
//   node registry-process-entry.ts LOGIN OBJECTS run      makes epochs without rest until it is killed
//   … STEP KEY     the same with a successor of the log key, named by its private key (PKCS #8, base64)
import { createPrivateKey } from 'node:crypto'
import { logKey } from '../src/keys/log-key.ts'
import { openDatabase } from '../src/store/database.ts'
import { openFolderObjects } from '../src/store/folder-objects.ts'
import { silent } from '../src/store/log.ts'
import { testClock, testLogKey } from './registry-fixture.ts'

const [login, folder, step, successor] = process.argv.slice(2) as [string, string, string, string | undefined]
process.stdin.on('close', () => process.exit(1)).resume() // our parent is gone

const store = openDatabase({ login, log: silent })
const clock = testClock(store, await openFolderObjects(folder), {
  interval_ms: 50,
  ...(successor !== undefined && { logKeys: [logKey(privateKey(successor)), testLogKey] }),
  onStep: (at) => {
    if (at === step) process.kill(process.pid, 'SIGKILL')
  },
})
function privateKey(text: string) {
  return createPrivateKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'pkcs8' })
}

if (step === 'run') {
  clock.start()
  console.log('running')
} else {
  const { kind } = await clock.epoch()
  console.log(kind)
  process.exit(0)
}
