// schemathesis reads our OpenAPI document and sends what it allows and what it forbids: no 5xx, and no answer that the
// document does not describe. It is a Python program; the test runs where its command `st` is on the PATH:
//   python3 -m venv /tmp/st && /tmp/st/bin/pip install schemathesis==4.32.0 && PATH=$PATH:/tmp/st/bin npm test -- server/test/schemathesis
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const isLong = process.env.AFFIDAVIT_LONG === '1'
const program = (process.env.PATH ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'st'))
  .find((path) => existsSync(path) && isSchemathesis(path))
if (program === undefined) console.warn('Skipped: schemathesis 4 (PyPI) is not on the PATH')

function isSchemathesis(path: string): boolean {
  return (
    spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 30_000 }).stdout?.includes('st, version 4.') ?? false
  )
}

describe.skipIf(program === undefined)('schemathesis', () => {
  let database: TestDatabase
  let server: StartedServer

  beforeAll(async () => {
    database = await freshDatabase()
    server = await startedServer(database.url, { AFFIDAVIT_LOG_LEVEL: 'silent' })
  })
  afterAll(async () => {
    await server?.stop()
    await database?.drop()
  })

  test(
    'finds no 5xx and no answer beside the document',
    async () => {
      const child = spawn(
        program!,
        [
          '--config-file',
          join(import.meta.dirname, 'schemathesis.toml'),
          'run',
          `${server.url}/openapi.json`,
          '--header',
          `Authorization: Bearer ${server.key}`,
          '--checks=all',
          '--mode=all',
          '--exclude-checks=unsupported_method,allow_header_conformance',
          ...(isLong ? ['--max-examples=25'] : ['--max-examples=10', '--phases=fuzzing']),
          '--seed=1',
          '--no-color',
        ],
        { cwd: server.dataDir, stdio: ['ignore', 'pipe', 'pipe'] },
      )
      let output = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
      const code = await new Promise((resolve) => child.once('close', resolve))
      expect(code, output.slice(output.indexOf('= FAILURES')).slice(0, 12_000)).toBe(0)
    },
    isLong ? 900_000 : 120_000,
  )
})
