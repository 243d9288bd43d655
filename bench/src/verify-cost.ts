// What some work costs per entry, run by run.

export interface Cost {
  /** Microseconds per entry. */
  readonly userUs: number
  readonly cpuUs: number
  readonly wallUs: number
}

/** A run to warm up, then as many as asked for. */
export async function measure(runs: number, entries: number, work: () => Promise<void> | void): Promise<Cost[]> {
  await work()
  const costs: Cost[] = []
  for (let run = 0; run < runs; run++) costs.push(await cost(entries, work))
  return costs
}

async function cost(entries: number, work: () => Promise<void> | void): Promise<Cost> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await work()
  const wallUs = ((performance.now() - start) * 1000) / entries
  const { user, system } = process.cpuUsage(cpu)
  return { userUs: user / entries, cpuUs: (user + system) / entries, wallUs }
}
