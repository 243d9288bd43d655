// A server in a process of its own, as operators run it; the benchmarks talk to it over HTTP like anybody.
import { readConfig } from '@affidavit/server/config.ts'
import { startServer } from '@affidavit/server/main.ts'

const settings = readConfig()
if (!settings.ok) throw new Error(settings.problems.join('\n'))
const server = await startServer(settings.config)
console.log(JSON.stringify({ url: server.url }))
process.on('SIGTERM', async () => {
  await server.stop()
  process.exit(0)
})
