// The recovery of a start in a process of its own that is killed, as by the kernel, when it reaches a step.
//   node recovery-process-entry.ts STEP      settings from the environment; prints what was replayed otherwise

import { recallLogName, recover } from '../src/assembly/recovery.ts'
import { ownDatabase } from '../src/assembly/safekeeping.ts'
import { readConfig } from '../src/config.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { openDatabase } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'
import { migrate } from '../src/store/migrate.ts'

const last = process.argv[2]
const read = readConfig()
if (!read.ok) throw new Error(read.problems.join('\n'))
const { config } = read
const embedded = await ownDatabase(config, silent)
const login = config.databaseUrl ?? embedded!.connection
await migrate(login, silent)
const database = openDatabase({ login, log: silent })
const logName = await recallLogName(config, database)
const keys = await openKeys({
  keeper: database.pool('keeper'),
  folder: config.keysDir,
  ...(logName !== undefined && { logName }),
})
const replayed = await recover(config, database, keys, silent, (step) => {
  if (step === last) process.kill(process.pid, 'SIGKILL')
})
console.log(JSON.stringify(replayed ?? null))
await database.end()
await embedded?.stop()
