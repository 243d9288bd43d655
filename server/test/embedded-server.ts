// A process that runs the embedded PostgreSQL and nothing else, for tests that kill it.
//   node embedded-server.ts FOLDER      prints one line of JSON once PostgreSQL answers; SIGTERM ends it cleanly
import { startEmbedded } from '../src/store/embedded.ts'
import { silent } from '../src/store/log.ts'

try {
  const embedded = await startEmbedded({ folder: process.argv[2]!, log: silent })
  process.on('SIGTERM', () => embedded.stop())
  console.log(JSON.stringify({ connection: embedded.connection, postmaster: embedded.pid }))
} catch (error) {
  console.log(JSON.stringify({ error: (error as Error).message }))
  process.exitCode = 1
}
