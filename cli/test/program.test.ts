// The command line without a server: help, settings, and what `serve` does around the server's start and end.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { parseExpiry } from '../src/command/keys.ts'
import { startFailure } from '../src/command/serve.ts'
import { keyFor, serverUrl } from '../src/config.ts'
import { printable } from '../src/terminal.ts'
import { placeOf } from '../src/verify/server/address.ts'
import { affidavit } from './command-line.ts'

const folder = mkdtempSync(join(tmpdir(), 'affidavit-cli-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('help', () => {
  test('names every command, its variables and exit codes', async () => {
    const { code, out } = await affidavit(['--help'])
    expect(code).toBe(0)
    for (const word of [
      'serve',
      'verify',
      'pack',
      'import',
      'tenants',
      'keys',
      'doctor',
      'AFFIDAVIT_KEY',
      'Exit codes',
    ])
      expect(out).toContain(word)
    expect((await affidavit([])).out).toBe(out)
  })

  test('options of a command do not stand among those of the server', async () => {
    for (const command of ['tenants create', 'keys create', 'forget person', 'holds place', 'pack', 'import']) {
      const { out } = await affidavit([...command.split(' '), '--help'])
      const [, server = ''] = out.split('\nServer:\n')
      expect([command, [...server.split('\n\n', 1)[0]!.matchAll(/^ {2}--(\w+)/gm)].map(([, name]) => name)]).toEqual([
        command,
        ['url', 'key'],
      ])
    }
  })

  test.each(['serve', 'verify', 'pack', 'import', 'doctor'])('%s explains its exit codes', async (command) => {
    const { code, out } = await affidavit([command, '--help'])
    expect(code).toBe(0)
    expect(out).toMatch(/Exit codes?:/)
  })
})

describe('settings', () => {
  test('the operator key of this machine is never sent elsewhere', () => {
    writeFileSync(join(folder, 'operator.key'), 'aff_live_x_y\n')
    const environment = { AFFIDAVIT_DATA_DIR: folder }
    expect(keyFor('http://127.0.0.1:4100', undefined, environment)).toBe('aff_live_x_y')
    expect(keyFor('http://[::1]:4100', undefined, environment)).toBe('aff_live_x_y')
    for (const url of ['https://vendor.example', 'http://127.0.0.1.vendor.example', 'http://localhost.vendor.example'])
      expect(() => keyFor(url, undefined, environment)).toThrow('needs an API key')
    expect(keyFor('https://vendor.example', 'aff_given', environment)).toBe('aff_given')
  })

  test('a missing key says where it was looked for', () => {
    expect(() => keyFor('http://localhost:1', undefined, { AFFIDAVIT_DATA_DIR: '/nowhere' })).toThrow(
      '/nowhere/operator.key: there is no such file',
    )
  })

  test('addresses', () => {
    expect(serverUrl('https://audit.example.com/')).toBe('https://audit.example.com')
    for (const bad of ['audit.example.com', 'ftp://a', 'https://user:secret@a']) expect(() => serverUrl(bad)).toThrow()
    expect(placeOf('https://a/eu/v1/trails/org_1', undefined)).toEqual({ url: 'https://a/eu', tenant: 'org_1' })
    expect(() => placeOf('https://a/v1/trails/org_1', 'org_2')).toThrow('--tenant names org_2')
    expect(() => placeOf('https://a', undefined)).toThrow('--tenant ID')
  })

  test('expiry', () => {
    expect(Date.parse(parseExpiry('90d')) - Date.now()).toBeGreaterThan(89 * 86_400_000)
    for (const bad of ['0d', 'soon', '2020-01-01', '90']) expect(() => parseExpiry(bad)).toThrow()
  })

  test('text of a server cannot drive the terminal', () => {
    expect(printable('a\u001b[2Jb\r\nc\u202ed')).toBe('a\ufffd[2Jb\ufffd\ufffdc\ufffdd')
  })
})

test('a server that is not there', async () => {
  const { server, port } = await listening()
  await new Promise((resolve) => server.close(resolve))
  const { code, err } = await affidavit(['verify', `http://127.0.0.1:${port}`, '--tenant', 'a', '--key', 'aff_x'])
  expect(code).toBe(2)
  expect(err).toContain(`http://127.0.0.1:${port} cannot be reached: connection refused. Start the server`)
})

test('a server that speaks no TLS is not asked with TLS', async () => {
  const { server, port } = await listening()
  server.on('connection', (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  })
  const { code, err } = await affidavit(['verify', `https://127.0.0.1:${port}`, '--tenant', 'a', '--key', 'aff_x'])
  await new Promise((resolve) => server.close(resolve))
  expect(code).toBe(2)
  expect(err).toContain('does not speak TLS there; its address may begin with http://')
})

test.each<[string[], string]>([
  [['verify', '127.0.0.1:4100', '--tenant', 'a'], '127.0.0.1:4100 is no file. If it is a server, write http://'],
  [['pack', '--tenant', 'a', '--since', 'yesterday'], 'A date or time is expected'],
  [['pack', '--tenant', 'a', '--from', '1', '--event', 'x'], 'Choose in one way'],
  [['tenants', 'create', 'bad id'], "A tenant's id has up to 64 letters"],
  [['forget', 'approve', 'that'], 'affidavit forget list shows them'],
])('%j is told what is expected instead', async (args, sentence) => {
  const { code, err } = await affidavit(args)
  expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
})

async function listening(): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return { server, port: (server.address() as AddressInfo).port }
}

test('doctor finds what is wrong without a server', async () => {
  const { code, out } = await affidavit(['doctor', '--url', 'http://127.0.0.1:1', '--json'], {
    AFFIDAVIT_DATA_DIR: folder,
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
  })
  const states = Object.fromEntries(
    (JSON.parse(out) as { name: string; state: string }[]).map((c) => [c.name, c.state]),
  )
  expect(code).toBe(1)
  expect(states).toMatchObject({
    node: 'good',
    'data folder': 'good',
    'operator key': 'bad',
    database: 'bad',
    server: 'warning',
  })
})

describe('serve', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await freshDatabase()
  })
  afterAll(() => database?.drop())

  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
  /** What is compiled is kept, as bin/affidavit.mjs keeps it. */
  const { PATH, NODE_COMPILE_CACHE } = process.env

  function serve(environment: Record<string, string>) {
    const child = spawn(process.execPath, [main, 'serve'], {
      env: {
        PATH,
        NODE_COMPILE_CACHE,
        AFFIDAVIT_LOG_LEVEL: 'error',
        AFFIDAVIT_DATA_DIR: folder,
        PORT: '0',
        ...environment,
      },
    })
    const output = { out: '', err: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output.out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.err += text))
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    return { child, output, ended }
  }

  /** What a shell prints that knows nothing of the server's environment. */
  async function shell(line: string): Promise<{ code: number | null; out: string }> {
    const child = spawn('sh', ['-c', line], { cwd: folder, env: { PATH, NODE_COMPILE_CACHE } })
    let out = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (out += text))
    return new Promise((resolve) => child.once('close', (code) => resolve({ code, out })))
  }

  test('prints a curl and a verify that work as they stand, and SIGTERM ends it with 0', async () => {
    rmSync(join(folder, 'operator.key'), { force: true })
    const { child, output, ended } = serve({ DATABASE_URL: database.url })
    try {
      await expect.poll(() => output.out, { timeout: 60_000 }).toContain('recovery key')
      const [curl, verify] = ['curl', 'npx'].map((word) => new RegExp(`^ {2}(${word} .*)$`, 'm').exec(output.out)![1]!)
      expect(JSON.parse((await shell(curl!)).out)).toMatchObject({ tenant: 'org_1', seq: 1 })
      const here = verify!.replace('npx affidavit', `"${process.execPath}" "${main}"`)
      expect(here).not.toBe(verify)
      // The first checkpoint comes within a second.
      await expect.poll(() => shell(here)).toEqual({ code: 0, out: expect.stringContaining('HELD') })
      expect(output.out).not.toContain(database.login.password ?? '\0')
    } finally {
      child.kill('SIGTERM')
    }
    expect(await ended).toBe(0)
    expect(output.err).toContain('Stopping')
  })

  test('an address in use is one sentence, not a stack', async () => {
    const { server, port } = await listening()
    const { ended, output } = serve({ DATABASE_URL: database.url, PORT: String(port) })
    expect(await ended).toBe(1)
    server.close()
    expect(output.err).toContain(
      `127.0.0.1:${port} is in use. Stop what listens there, or choose another port with PORT.`,
    )
    expect(output.err).not.toMatch(/^\s+at /m)
    expect(output.out).toBe('')
  })

  test('a wrong setting is named, with exit code 2', async () => {
    const { code, err } = await affidavit(['serve'], { PORT: 'many' })
    expect(code).toBe(2)
    expect(err).toContain('PORT: "many" is not a whole number')
  })

  test('failures that carry no sentence still become one', () => {
    const config = { host: '127.0.0.1', port: 80 }
    const error = (members: object) => Object.assign(new Error('x'), members)
    expect(startFailure(error({ code: 'EACCES' }), config)).toContain('may not listen on 127.0.0.1:80')
    expect(startFailure(error({ code: 'EACCES', path: '/data' }), config)).toContain('may not write /data')
    expect(startFailure(error({ code: 'ENOSPC' }), config)).toBe('the disk is full.')
    expect(startFailure(error({ name: 'StoreRefused' }), config)).toBe('x')
  })
})
