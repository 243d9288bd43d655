import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as rest } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { silent } from '../store/log.ts'
import type { Operation, Reply } from './operation.ts'
import { buildServer } from './server.ts'

const clients: Socket[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy()
})

async function serverOf(handle: () => Promise<Reply>, patience_ms: number) {
  const operation: Operation = {
    method: 'GET',
    path: '/ask',
    operationId: 'ask',
    tag: 'Test',
    summary: 'Ask',
    scope: null,
    responses: { 200: { description: 'Answered.' } },
    problems: [],
    handle,
  }
  const apiKeys = { authenticate: () => Promise.reject(new Error('nothing here needs a key')) }
  const server = buildServer({ operations: [operation], apiKeys, log: silent, onAnswer: () => undefined, patience_ms })
  await server.listen({ host: '127.0.0.1', port: 0 })
  return server
}

async function connected(server: { server: { address(): unknown } }): Promise<Socket> {
  const client = connect((server.server.address() as AddressInfo).port, '127.0.0.1')
  clients.push(client)
  client.on('error', () => undefined)
  await once(client, 'connect')
  return client
}

const request = 'GET /ask HTTP/1.1\r\nhost: here\r\n\r\n'
/** Far more than it takes, far less than the time that Node gives a request. */
const soon = () => rest(20_000, 'it waits', { ref: false })

test('a connection that never carried a request is not waited for, nor one that is kept alive', async () => {
  const server = await serverOf(async () => ({ status: 200 }), 600_000)
  await connected(server)
  const kept = await connected(server)
  kept.write(request)
  expect(String(await once(kept, 'data'))).toMatch(/^HTTP\/1\.1 200 /)
  expect(await Promise.race([server.close().then(() => 'closed'), soon()])).toBe('closed')
})

test('an answer under way is finished', async () => {
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<Reply>()
  const server = await serverOf(() => {
    asked.resolve()
    return answer.promise
  }, 600_000)
  const client = await connected(server)
  client.write(request)
  await asked.promise
  const closed = server.close()
  await rest(200) // some sweeps later
  answer.resolve({ status: 200, body: { answered: true } })
  let text = ''
  for await (const bytes of client) text += bytes
  expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]+\{"answered":true\}$/)
  await closed
})

test('one that does not end is cut off', async () => {
  const asked = Promise.withResolvers<void>()
  const server = await serverOf(() => {
    asked.resolve()
    return new Promise(() => undefined)
  }, 100)
  const client = await connected(server)
  const gone = once(client, 'close')
  client.write(request)
  await asked.promise
  expect(await Promise.race([server.close().then(() => 'closed'), soon()])).toBe('closed')
  await gone
})
