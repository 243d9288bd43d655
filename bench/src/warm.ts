// Makes every person of every tenant known before a clock starts.
import { Load } from './client.ts'
import { EventSource, type Mix } from './events.ts'
import type { BenchServer } from './server.ts'

const batchEvents = 1_000

/** @param seed of the events' ids: another one for each start on the same data */
export async function warm(server: BenchServer, mix: Mix, seed = 77): Promise<void> {
  const source = new EventSource({ ...mix, known: 1, seed })
  const load = new Load(server.url, server.key, 8)
  const batches: Buffer[] = []
  let lines: string[] = []
  for (let tenant = 0; tenant < mix.tenants; tenant++) {
    for (let person = 0; person < mix.people; person++) {
      if (lines.push(JSON.stringify(source.of(tenant, person, Date.now()))) === batchEvents) {
        batches.push(Buffer.from(lines.join('\n')))
        lines = []
      }
    }
  }
  await load.sendAll(batches, 8)
  load.close()
}
