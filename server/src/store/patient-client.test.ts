import { createServer, type Socket } from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { PatientClient } from './patient-client.ts'
import { isUnavailable } from './unavailable.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

/** A busy machine answers well within it. */
const patience_ms = 1_000

async function patient(patience_ms: number, settings: Partial<pg.ClientConfig> = {}): Promise<pg.Client> {
  const client = new PatientClient({ ...database.login, patience_ms, ...settings })
  client.on('error', () => {})
  await client.connect()
  return client
}

test('gives up a connection that does not answer, with all that was asked over it, and not before', async () => {
  const client = await patient(patience_ms, { pipeline: true })
  for (let n = 0; n < 12; n++) await client.query('select pg_sleep(0.1)') // longer than its patience only together
  const started = performance.now()
  const outcomes = await Promise.allSettled([client.query('select pg_sleep(30)'), client.query('select 1')])
  expect(performance.now() - started).toBeGreaterThan(patience_ms - 10)
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'Query read timeout' } })
    if (outcome.status === 'rejected') expect(isUnavailable(outcome.reason)).toBe(true)
  }
  await expect(client.query('select 1')).rejects.toThrow('not queryable')
})

test('of a pool: who asked is told, and the next gets a new connection', async () => {
  const pool = new pg.Pool({
    ...database.login,
    max: 1,
    patience_ms,
    Client: PatientClient as never,
  } as pg.PoolConfig)
  pool.on('connect', (client) => client.on('error', () => {}))
  await expect(pool.query('select pg_sleep(30)')).rejects.toThrow('Query read timeout')
  const { rows } = await pool.query('select 1 as one')
  expect(rows).toEqual([{ one: 1 }])
  await pool.end()
})

test('an idle connection stays, and a server that falls silent is noticed', async () => {
  const client = await patient(patience_ms)
  await client.query('select 1')
  await new Promise((resolve) => setTimeout(resolve, 1.2 * patience_ms))
  expect((await client.query('select 2 as two')).rows).toEqual([{ two: 2 }])
  await client.end()

  const sockets: Socket[] = []
  const silent = createServer((socket) => {
    sockets.push(socket)
    // AuthenticationOk, ReadyForQuery (PostgreSQL documentation, Message Formats), and nothing ever after.
    socket.once('data', () => socket.write(Buffer.from('5200000008000000005a0000000549', 'hex')))
  })
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as { port: number }
  const deaf = new PatientClient({ host: '127.0.0.1', port, user: 'u', database: 'd', patience_ms })
  deaf.on('error', () => {})
  await deaf.connect()
  await expect(deaf.query('select 1')).rejects.toThrow('Query read timeout')
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => silent.close(resolve))
})

test("an error tells who asked, and a query's callback is called", async () => {
  const client = await patient(5_000)
  const asked = async () => client.query('select nonsense')
  await expect(asked()).rejects.toMatchObject({ code: '42703' })
  const rows = await new Promise((resolve, reject) => {
    client.query('select 7 as seven', (error: Error | null, result: pg.QueryResult) =>
      error ? reject(error) : resolve(result.rows),
    )
  })
  expect(rows).toEqual([{ seven: 7 }])
  await client.end()
})
