// `affidavit verify URL` against servers that answer anything at all: never a crash, never a pass.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Failure } from '../src/failure.ts'
import { Remote } from '../src/remote.ts'
import { affidavit } from './command-line.ts'
import { type Answer, honestTrail, makeEpochs, SampleServer, TENANT } from './sample-server.ts'

const trail = honestTrail(60)
const epochs = makeEpochs(7, () => trail)
let server: SampleServer
beforeAll(async () => {
  server = await SampleServer.start({ trail, epochs })
})
afterAll(() => server.stop())

const ask = (...more: string[]) =>
  affidavit(['verify', server.url, '--tenant', TENANT, '--key', 'k', '--max-age', '9999d', '--json', ...more])

/** Every address that a visit asks for. */
const addresses: string[] = []
beforeAll(async () => {
  const asked = new Set<string>()
  server.instead = (path) => void asked.add(path)
  expect((await ask()).code).toBe(0)
  addresses.push(...asked)
})

/** The verifier says something, in one of the two codes that are no pass. */
function expectRefused({ code, out, err }: { code: number; out: string; err: string }, codes = [1, 2]): void {
  expect(codes).toContain(code)
  if (code === 1)
    expect(
      (JSON.parse(out) as { findings: { state: string }[] }).findings.some(({ state }) => state === 'failed'),
    ).toBe(true)
  else expect(out + err).toMatch(/[a-z ]{10,}/)
}

const html = '<!doctype html><title>Login</title>'
/** More than the longest answer that is read at all, 64 MiB; a stream of gzip may have many members. */
const bomb = Buffer.concat(Array<Buffer>(65).fill(gzipSync(Buffer.alloc(2 ** 20))))

const answers: [string, (honest: Answer) => Answer, codes?: number[]][] = [
  ['an HTML page', () => ({ body: html, headers: { 'content-type': 'text/html' } })],
  ['nothing', () => ({ body: '' })],
  ['a redirect', () => ({ status: 302, headers: { location: 'http://127.0.0.1:1/steal' } }), [2]],
  ['a refusal', () => ({ status: 403, body: html }), [2]],
  ['another refusal', () => ({ status: 410, body: '{"code":7,"detail":[]}' })],
  ['an error with an endless body', () => ({ take: (response) => endless(response, 400) }), [2]],
  ['an endless body', () => ({ take: (response) => endless(response, 200) })],
  ['a gzip bomb', () => ({ body: bomb, headers: { 'content-encoding': 'gzip' } })],
  ['a broken gzip', () => ({ body: bomb.subarray(0, 1000), headers: { 'content-encoding': 'gzip' } })],
  ['null', () => ({ body: 'null' })],
  ['JSON of other types', () => ({ body: '{"origin":{},"vkey":[],"trails":{"length":1e9},"withheld":"all"}' })],
  ['deep JSON', () => ({ body: '['.repeat(200_000) })],
  ['bytes that are no UTF-8', () => ({ body: Buffer.from([0xff, 0xfe, 0, 10, 10]) })],
  ['the answer twice', ({ body }) => ({ body: Buffer.concat([bytesOf(body), bytesOf(body)]) })],
  ['half of the answer', ({ body }) => ({ body: bytesOf(body).subarray(0, bytesOf(body).length >> 1) })],
  ['control characters', () => ({ body: '\u001b[2J\u001b[31mHELD\n\n\u202e\n' })],
]

function endless(response: import('node:http').ServerResponse, status: number): void {
  response.writeHead(status)
  const more = () => !response.destroyed && response.write(Buffer.alloc(65_536, 'x'), more)
  more()
}

/** What cannot be read in one piece is asked for in halves. */
const isSame = (path: string, target: string) =>
  path === target || (path.includes('/content?') && target.includes('/content?'))

const bytesOf = (body: Answer['body']): Buffer => Buffer.from((body ?? '') as Uint8Array)

describe('at each address, instead of the honest answer', () => {
  test.each(answers)('%s', async (name, make, codes) => {
    for (const target of addresses) {
      if (name === 'the answer twice' && target.endsWith('/vkeys')) continue // a list may name a key twice
      // What the server calls its own keys matters to nobody who checks signatures against them.
      server.instead = async (path, honest) => (isSame(path, target) ? make(await honest()) : undefined)
      const ran = await ask()
      expect(`${target} ${ran.code}`).toMatch(/ [12]$/)
      expect(ran.out + ran.err).not.toContain('\u001b')
      expectRefused(ran, codes)
    }
  })
})

/** Bits that carry no statement: JSON's spelling of what is not read, and the key that is compared elsewhere. */
const flips = process.env.AFFIDAVIT_LONG === '1' ? 1000 : 100

test('flipped, cut and inserted bytes anywhere are noticed', async () => {
  const targets = addresses.filter((path) => path !== `/v1/trails/${TENANT}` && !path.endsWith('/vkeys'))
  let seed = 1
  const dice = (n: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((seed / 2 ** 32) * n)
  }
  for (let n = 0; n < flips; n++) {
    const target = targets[dice(targets.length)]!
    const kind = dice(3)
    let change = ''
    server.instead = async (path, honest) => {
      if (!isSame(path, target)) return undefined
      const body = bytesOf((await honest()).body)
      const at = dice(body.length)
      change = `${target} ${kind} at ${at}`
      if (kind === 0) body[at]! ^= 1 << dice(8)
      const cut = kind === 1 ? body.subarray(0, at) : body
      return { body: kind === 2 ? Buffer.concat([body.subarray(0, at), Buffer.of(dice(256)), body.subarray(at)]) : cut }
    }
    const ran = await ask()
    expect(`${change} ${ran.code}`).toMatch(/ [12]$/)
    expectRefused(ran)
  }
})

describe('time', () => {
  test.each([
    ['no answer at all', () => {}],
    ['headers, and then nothing', (response) => response.writeHead(200).flushHeaders()],
    [
      'a byte now and then, for ever',
      (response) => {
        response.writeHead(200)
        const timer = setInterval(() => response.write('x'), 20)
        response.on('close', () => clearInterval(timer))
      },
    ],
  ] as [string, (response: import('node:http').ServerResponse) => void][])('%s: given up', async (_name, take) => {
    const slow = createServer((_request, response) => take(response))
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
    const remote = new Remote({ url: `http://127.0.0.1:${(slow.address() as AddressInfo).port}`, key: 'k' }, 1, 100)
    const read = remote.bytes('/v1/registry/checkpoint', { limit: 1_000_000 })
    await expect(Promise.race([read, sleep(5000, 'still reading')])).rejects.toBeInstanceOf(Failure)
    slow.closeAllConnections()
    slow.close()
  })
})

test('an address that is none', async () => {
  const ran = await affidavit(['verify', `${server.url}/v1/trails/%zz`, '--key', 'k'])
  expect(ran).toMatchObject({ code: 2, err: expect.stringContaining('%zz') })
})
