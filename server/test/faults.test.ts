// Acknowledged means durable: a real server and its PostgreSQL are killed at random moments under load, and the oracle
// looks at everything afterwards. AFFIDAVIT_LONG=1 makes 30 rounds of 10, one half of them kills the server and the other
// PostgreSQL; AFFIDAVIT_KILL_ROUNDS=500 is the long run.
import { randomInt } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { checkTrails, type Kept, listAll } from './check-trail.ts'
import { Load } from './faults-load.ts'
import { isAlive, type ServerProcess, startProcess } from './server-process.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const rounds = Math.ceil(Number(process.env.AFFIDAVIT_KILL_ROUNDS || (long ? 30 : 10)) / 2)
/** Every round checks all that its tenants ever recorded; so that 500 rounds end, others take over now and then. */
const roundsOfTenants = 20

async function embedded(): Promise<ServerProcess> {
  const server = await startProcess()
  onTestFinished(() => server.remove())
  return server
}

/** @param turn of so many tenants; new ones each time */
function loadOn(server: ServerProcess, turn = 0): Load {
  const tenants = ['acme', 'globex', 'initech', 'umbrella'].map((name) => `${name}-${turn}`)
  return new Load({ urls: [server.url], key: server.operatorKey, tenants, connections: 5, batch: 30 })
}

const serviceOf = (server: ServerProcess) => ({ url: server.url, key: server.operatorKey })

/** Nothing acknowledged is missing, nothing is there twice, every trail verifies and grew from its last checkpoint. */
async function expectWhole(server: ServerProcess, load: Load, kept: Map<string, Kept>): Promise<void> {
  expect(load.wrong).toEqual([])
  const { tenants, acknowledged } = load
  const wrong = await checkTrails({ service: serviceOf(server), tenants, acknowledged, kept }).catch((error: Error) => [
    `${error.message}\n${server.log}`,
  ])
  expect(wrong).toEqual([])
}

/** The same question asked of the API that people use. */
async function expectListed(server: ServerProcess, load: Load): Promise<void> {
  for (const tenant of load.tenants) {
    const times = new Map<string, number>()
    for (const { id } of await listAll(serviceOf(server), tenant)) times.set(id, (times.get(id) ?? 0) + 1)
    const told = new Set(load.acknowledged.filter((one) => one.tenant === tenant).map(({ id }) => id))
    expect([...told].filter((id) => times.get(id) !== 1)).toEqual([])
    expect([...times.values()].filter((n) => n !== 1)).toEqual([])
  }
}

test(
  `the server killed under load, ${rounds} rounds`,
  async () => {
    const server = await embedded()
    let load = loadOn(server)
    const kept = new Map<string, Kept>()
    for (let round = 0; round < rounds; round++) {
      if (round > 0 && round % roundsOfTenants === 0) {
        await expectListed(server, load)
        load = loadOn(server, round / roundsOfTenants)
      }
      const before = load.acknowledged.length
      load.start()
      while (load.acknowledged.length === before) await sleep(5)
      await sleep(randomInt(20, 500))
      await server.kill()
      await load.stop()
      await server.start()
      await load.settle()
      await expectWhole(server, load, kept)
    }
    await expectListed(server, load)
  },
  60_000 + rounds * 30_000,
)

/** Ends a load on a server that lived through it, and looks at everything. */
async function expectSettled(server: ServerProcess, load: Load, kept: Map<string, Kept>): Promise<void> {
  await load.stop()
  await load.settle()
  expect(isAlive(server.pid)).toBe(true)
  await expectWhole(server, load, kept)
  await expectListed(server, load)
}

function parentOf(pid: number): number | undefined {
  try {
    // proc(5): pid (name) state ppid …, and a name may have anything in it.
    return Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[1])
  } catch {
    return undefined // no process, or not any more
  }
}

/** Process ids of the backends under a postmaster that serve connections of ours. */
function backendsOf(postmaster: number): number[] {
  const children = readdirSync('/proc')
    .map(Number)
    .filter((pid) => parentOf(pid) === postmaster)
  return children.filter((pid) => {
    try {
      return / \[local\] |\) \w+$/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' '))
    } catch {
      return false // it went meanwhile
    }
  })
}

test(
  `PostgreSQL killed under load, ${rounds} rounds, and the server goes on by itself`,
  async () => {
    const server = await embedded()
    let load = loadOn(server)
    const loads = [load]
    const kept = new Map<string, Kept>()
    load.start()
    for (let round = 0; round < rounds; round++) {
      if (round > 0 && round % roundsOfTenants === 0) {
        await expectSettled(server, load, kept)
        load = loadOn(server, round / roundsOfTenants)
        loads.push(load)
        load.start()
      }
      const before = load.acknowledged.length
      while (load.acknowledged.length < before + 100) await sleep(5)
      await sleep(randomInt(20, 300))
      const postmaster = server.postgresPid!
      if (round % 2 === 0) process.kill(postmaster, 'SIGKILL')
      else {
        const backends = backendsOf(postmaster)
        expect(backends.length).toBeGreaterThan(0)
        try {
          process.kill(backends[randomInt(backends.length)]!, 'SIGKILL')
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it went by itself
        }
      }
      const killed = Date.now()
      const answered = load.acknowledged.length
      while (load.acknowledged.length < answered + 50) {
        if (Date.now() - killed > 60_000) throw new Error(`nothing is sealed any more\n${server.log}`)
        await sleep(10)
      }
    }
    await expectSettled(server, load, kept)
    // Whoever asked meanwhile was told so, soon, and when to come back.
    const refused = loads.flatMap((one) => one.refused)
    expect(refused.length).toBeGreaterThan(0)
    for (const { retryAfter, text } of refused) {
      expect(Number(retryAfter)).toBeGreaterThan(0)
      expect(JSON.parse(text)).toMatchObject({ status: 503, code: 'unavailable' })
    }
    expect(Math.max(...refused.map(({ ms }) => ms))).toBeLessThan(25_000)
  },
  60_000 + rounds * 30_000,
)
