// What npm would publish: both packages are built, packed, installed elsewhere and used by the plain Node that users
// have, without TypeScript, against a whole server. Types are checked as a user's compiler sees them.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'

const root = join(import.meta.dirname, '..', '..')
let folder: string
let database: TestDatabase
let server: StartedServer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-published-'))
  database = await freshDatabase()
  server = await startedServer(database.url)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

/** The server lives in this process, so nothing may block it. `node` is the first one in the PATH: 20 where that is installed. */
async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  return (await promisify(execFile)(command, [...args], { cwd, timeout: 120_000 })).stdout
}

const program = `
import { createAffidavit, fileReceipts } from '@affidavit/sdk'
import { sha256, toHex } from '@affidavit/trail'
const [url, key, folder] = process.argv.slice(2)
const affidavit = createAffidavit({ url, key, tenant: 'org_1', receipts: { store: fileReceipts({ folder }) } })
const receipt = await affidavit.record({ action: 'user.login', actor: { type: 'user', id: 'user_1' } })
let result
do {
  await new Promise((resolve) => setTimeout(resolve, 200))
  result = await affidavit.confirm()
} while (result.waiting + result.unchecked > 0)
await affidavit.close()
console.log(JSON.stringify({ node: process.versions.node, seq: receipt.seq, result, empty: toHex(sha256(new Uint8Array(0))) }))
`

const typed = `
import { type AuditEvent, createAffidavit, type Receipt } from '@affidavit/sdk'
import { type Hash, parseReceipt } from '@affidavit/trail'
const event: AuditEvent = { action: 'user.login', actor: { type: 'user' } }
export const receipt: Promise<Receipt> = createAffidavit({ url: 'http://127.0.0.1', key: 'k' }).record(event)
export const hash: Hash = (data) => data
export const trail: string = parseReceipt('').trail
// @ts-expect-error an event has an action
export const wrong: AuditEvent = { actor: { type: 'user' } }
`

test('the packages install and work under plain Node, with types', async () => {
  await run('npm', ['run', 'build'], join(root, 'sdk'))
  const built = ['trail', 'sdk'].map((name) => join(root, name, 'dist'))
  await run('npm', ['pack', '--silent', '--pack-destination', folder, ...built], folder)
  const packed = (await readdir(folder)).filter((name) => name.endsWith('.tgz'))
  expect(packed.sort()).toEqual(['affidavit-sdk-0.1.0.tgz', 'affidavit-trail-0.1.0.tgz'])
  await writeFile(join(folder, 'package.json'), '{"type":"module","private":true}')
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', ...packed.map((name) => `./${name}`)], folder)
  expect((await readdir(join(folder, 'node_modules', '@affidavit'))).sort()).toEqual(['sdk', 'trail'])

  await writeFile(join(folder, 'use.js'), program)
  const told = JSON.parse(
    await run('node', ['use.js', server.url, server.key, join(folder, 'receipts')], folder),
  ) as object
  expect(told).toMatchObject({ seq: 1, result: { confirmed: 1, problems: [] } })
  expect(told).toMatchObject({ empty: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' })

  await writeFile(join(folder, 'use.ts'), typed)
  await symlink(join(root, 'node_modules', '@types'), join(folder, 'node_modules', '@types'))
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node']
  await run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), ...options, 'use.ts'], folder)
})
