// The process behind server-process.ts: a server as `affidavit serve` runs it, which tells its parent where it listens.
//   node server-process-entry.ts      settings from the environment; prints one line of JSON; SIGTERM ends it cleanly
import { flushCompileCache } from 'node:module'
import type { Socket } from 'node:net'
import { readConfig } from '../src/config.ts'
import { startServer } from '../src/main.ts'

// A test run that is killed must not leave servers behind: the pipe to our parent ends with it.
const parent = process.stdin as Socket
parent.on('close', () => process.exit(1)).resume()
parent.unref()

const read = readConfig()
if (!read.ok) throw new Error(read.problems.join('\n'))
try {
  const server = await startServer(read.config)
  console.log(JSON.stringify({ url: server.url }))
  flushCompileCache() // one that is killed would leave nothing for the next
  process.once('SIGTERM', () => void server.stop())
} catch (error) {
  console.log(JSON.stringify({ error: (error as Error).message }))
  process.exitCode = 1
}
