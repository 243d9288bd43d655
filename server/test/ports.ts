// Ports for servers that are stopped and come back under their address. What the system gives out by itself (`listen(0)`, the
// near end of a connection) may be somebody else's by then: tests run side by side and open thousands. These are none of
// those, and each worker of a test run has its own.
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Linux gives out 32768 to 60999, others higher ones. */
const lowest = 12_000
const perWorker = 1_000
const workers = 20
let taken = Math.floor(Math.random() * perWorker) // another run may be under way on this machine

/** A port that nobody listens on, and that no other test of this run gets. */
export async function freePort(): Promise<number> {
  const first = lowest + perWorker * (Number(process.env.VITEST_POOL_ID ?? 0) % workers)
  for (let left = perWorker; left > 0; left--) {
    const port = first + (taken++ % perWorker)
    if (await isFree(port)) return port
  }
  throw new Error('all ports of this worker are in use')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
