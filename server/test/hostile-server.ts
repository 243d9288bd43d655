// The process behind hostile.test.ts: a server as `affidavit serve` runs it, which tells its parent how it fares.
// Any message makes it collect garbage and answer with its memory and the worst delay of its event loop since the last.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { readConfig } from '../src/config.ts'
import { startServer } from '../src/main.ts'

/** Bytes, and milliseconds. */
export interface Health {
  readonly rss: number
  readonly heap: number
  readonly delayMax: number
  readonly delayP99: number
}

const settings = readConfig()
if (!settings.ok) throw new Error(settings.problems.join('\n'))
const server = await startServer(settings.config)
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()
process.on('message', async () => {
  const [delayMax, delayP99] = [delay.max / 1e6, delay.percentile(99) / 1e6]
  // Twice: buffers are given back by what runs after the first.
  globalThis.gc?.()
  await new Promise((resolve) => setTimeout(resolve, 200))
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  delay.reset()
  process.send!({ rss, heap: heapUsed + external, delayMax, delayP99 } satisfies Health)
})
process.on('disconnect', async () => {
  await server.stop()
  process.exit(0)
})
process.send!({ url: server.url })
