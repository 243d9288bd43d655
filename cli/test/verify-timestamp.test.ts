// A timestamp from a real authority, on its way from a server into a pack and before a verifier: the command, the
// verifier in one file, and the command again that asks the server itself.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { timestampRequest } from '../../server/src/anchor/timestamp.ts'
import { freshDatabase, type TestDatabase } from '../../server/test/database.ts'
import { type StartedServer, startedServer } from '../../server/test/started-server.ts'
import { hasOpenssl, startTimestampAuthority, type TimestampAuthority } from '../../server/test/timestamp-authority.ts'
import { withPack } from '../src/verify/file/pack-file.ts'
import { checkHeads } from '../src/verify/live/heads.ts'
import { Roots } from '../src/verify/live/roots.ts'
import { outsideOf } from '../src/verify/live/timestamps.ts'
import { nodeSha256 } from '../src/verify/node-hash.ts'
import { affidavit, verified } from './command-line.ts'

const run = promisify(execFile)
let authority: TimestampAuthority
let stranger: TimestampAuthority
let database: TestDatabase
let server: StartedServer
let folder: string
const at = (name: string) => join(folder, name)

describe.skipIf(!hasOpenssl)('a pack of a server with a timestamp authority', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'affidavit-stamped-'))
    authority = await startTimestampAuthority({ keys: 'P-384' })
    stranger = await startTimestampAuthority()
    await writeFile(at('ca.pem'), authority.ca)
    await writeFile(at('stranger.pem'), stranger.ca)
    const anchors = [{ name: 'tsa', kind: 'timestamp', url: authority.url, ca_file: 'ca.pem', every: '2s' }]
    await writeFile(at('anchors.json'), JSON.stringify({ anchors }))
    database = await freshDatabase()
    server = await startedServer(database.url, {
      AFFIDAVIT_ANCHORS: at('anchors.json'),
      AFFIDAVIT_REGISTRY_INTERVAL_MS: '1000',
    })
    const recorded = await fetch(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tenant: 'org_1', action: 'user.login', actor: { type: 'user', id: 'u1' } }),
    })
    expect(recorded.status).toBe(201)
    await until(async () => {
      await rm(at('org_1.zip'), { force: true })
      const packed = await affidavit(['pack', '--tenant', 'org_1', '-o', at('org_1.zip')], {
        AFFIDAVIT_URL: server.url,
        AFFIDAVIT_KEY: server.key,
      })
      if (packed.code !== 0) return false
      return withPack(at('org_1.zip'), async ({ manifest }) => manifest.optional.some((path) => path.endsWith('.slot')))
    })
  }, 90_000)
  afterAll(async () => {
    await server?.stop()
    await database?.drop()
    await authority?.stop()
    await stranger?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  test('is anchored for whoever trusts the authority, and says since when', async () => {
    const told = await verified([at('org_1.zip'), '--tsa-ca', at('ca.pem')])
    expect(told).toMatchObject({ outcome: 'held', assurance: 'anchored', verdicts: { anchors: 'held' }, findings: [] })
    const { anchors = [] } = told
    expect(anchors).toMatchObject([{ kind: 'timestamp', authority: 'Test tsa', accuracy_ms: 1000 }])
    expect(anchors[0]!.entries).toBeGreaterThan(0)
    expect(Math.abs(Date.parse(anchors[0]!.time) - Date.now())).toBeLessThan(120_000)
    const { out } = await affidavit([
      'verify',
      at('org_1.zip'),
      '--tsa-ca',
      at('stranger.pem'),
      '--tsa-ca',
      at('ca.pem'),
    ])
    expect(out).toMatch(/^Timestamp +Test tsa, 20.+ ± 1 s: the first \d+ entries \(epoch \d+\)$/m)
    expect(out).toContain('HELD: the trail is what was sealed')
  })

  test('is not checked without certificates, and open with those of a stranger', async () => {
    const { out, code } = await affidavit(['verify', at('org_1.zip')])
    expect(code).toBe(0)
    expect(out).toMatch(/anchors\/\d+\.tsr is present, not checked: give its authority's certificate, --tsa-ca/)
    expect(await verified([at('org_1.zip'), '--tsa-ca', at('stranger.pem')])).toMatchObject({
      outcome: 'unchecked',
      exit_code: 2,
      findings: [{ code: 'timestamp_untrusted' }],
    })
  })

  test('needs certificates that can be read', async () => {
    await writeFile(at('no.pem'), 'nothing')
    const unreadable = await affidavit(['verify', at('org_1.zip'), '--tsa-ca', at('no.pem')])
    expect(unreadable).toMatchObject({ code: 2, err: expect.stringContaining('no certificate in PEM form') })
    const absent = await affidavit(['verify', at('org_1.zip'), '--tsa-ca', at('absent.pem')])
    expect(absent).toMatchObject({ code: 2, err: expect.stringContaining('cannot be read') })
  })

  test('holds in the verifier in one file, and for openssl', async () => {
    const root = join(import.meta.dirname, '../..')
    await run(process.execPath, ['web/verify/build.ts', '--if-stale'], { cwd: root })
    const program = join(root, 'server/dist/verifier/affidavit-verify.mjs')
    const { stdout } = await run(process.execPath, [program, at('org_1.zip'), '--tsa-ca', at('ca.pem')])
    expect(stdout).toContain('Timestamp  Test tsa, 20')
    expect((await readFile(program)).length).toBeLessThan(300_000)
    const [name] = await withPack(at('org_1.zip'), async (pack) => {
      const paths = pack.manifest.optional.filter((path) => /^anchors\/\d+\.(checkpoint|tsr)$/.test(path))
      for (const path of paths) await writeFile(at(path.replace('/', '-')), await pack.read(path))
      return paths.map((path) => at(path.replace('/', '-').replace(/\.\w+$/, '')))
    })
    const files = ['-data', `${name}.checkpoint`, '-in', `${name}.tsr`]
    const checked = await run('openssl', ['ts', '-verify', ...files, '-CAfile', at('ca.pem')])
    expect(checked.stdout + checked.stderr).toContain('Verification: OK')
  })

  describe('asked itself', () => {
    const live = (...more: string[]) => verified([server.url, '--tenant', 'org_1', '--key', server.key, ...more])

    test('is anchored for whoever trusts the authority, and says since when', async () => {
      const told = await live('--tsa-ca', at('ca.pem'))
      expect(told).toMatchObject({
        outcome: 'held',
        assurance: 'anchored',
        verdicts: { anchors: 'held' },
        findings: [],
      })
      expect(told.anchors).toMatchObject([{ kind: 'timestamp', authority: 'Test tsa', accuracy_ms: 1000 }])
      expect(told.anchors![0]!.entries).toBeGreaterThan(0)
      const without = await live()
      expect(without).toMatchObject({ outcome: 'held', assurance: 'tamper-detecting only', anchors: [] })
    })

    test('is open with the certificates of a stranger', async () => {
      expect(await live('--tsa-ca', at('stranger.pem'))).toMatchObject({
        outcome: 'unchecked',
        exit_code: 2,
        assurance: 'tamper-detecting only',
        findings: [{ verdict: 'anchors', code: 'timestamp_untrusted' }],
      })
    })

    test('is found out by a stamped checkpoint that is not its past, and by a token for something else', async () => {
      const { rows } = await database.superuser.query<{ origin: string; note: string; token: Buffer }>(
        'select origin, note, token from affidavit.anchored order by id desc limit 1',
      )
      const { origin, note, token } = rows[0]!
      const lines = note.split('\n')
      lines[2] = Buffer.alloc(32, 7).toString('base64')
      const other = lines.join('\n')
      const genuine = await authority.reply(timestampRequest(Buffer.from(other), Buffer.alloc(8, 1)))
      const shown = async (stamped: string, by: Buffer) => {
        await database.superuser.query(
          `insert into affidavit.anchored (epoch, size, anchor, kind, origin, public, note, token)
             values (1, $1, 'second', 'timestamp', $2, true, $3, $4)`,
          [Number(lines[1]), origin, stamped, by],
        )
        const told = await live('--tsa-ca', at('ca.pem'))
        await database.superuser.query(`delete from affidavit.anchored where anchor = 'second'`)
        return told
      }
      expect(await shown(other, genuine)).toMatchObject({
        exit_code: 1,
        assurance: 'tamper-detecting only',
        verdicts: { registry: 'failed', anchors: 'failed' },
        findings: expect.arrayContaining([expect.objectContaining({ code: 'registry_forked' })]),
      })
      expect(await shown(other, token)).toMatchObject({
        exit_code: 1,
        findings: expect.arrayContaining([expect.objectContaining({ code: 'timestamp_other_document' })]),
      })
      expect(await live('--tsa-ca', at('ca.pem'))).toMatchObject({ outcome: 'held', findings: [] })
    })

    // Last: new ones come every two seconds.
    test('is anchored however many copies in buckets came since; without a timestamp it vouches for nothing', async () => {
      await database.superuser.query(
        `insert into affidavit.anchored (anchor, kind, origin, epoch, size, note, public)
           select 'worm', 'bucket', origin, epoch, size, note, true
             from (select * from affidavit.anchored order by id desc limit 1) as newest, generate_series(1, 600)`,
      )
      await database.superuser.query(
        `create function pg_temp.none() returns trigger language plpgsql as 'begin return null; end'`,
      )
      await database.superuser.query(
        'create trigger none before insert on affidavit.anchored for each row execute function pg_temp.none()',
      )
      await database.superuser.query(
        `delete from affidavit.anchored where id > (select max(id) from affidavit.anchored where kind = 'bucket')`,
      )
      expect(await live('--tsa-ca', at('ca.pem'))).toMatchObject({ outcome: 'held', assurance: 'anchored' })
      await database.superuser.query(`delete from affidavit.anchored where kind = 'timestamp'`)
      expect(await live('--tsa-ca', at('ca.pem'))).toMatchObject({
        exit_code: 2,
        findings: [{ verdict: 'anchors', code: 'no_timestamp' }],
      })
    })
  })
})

test('of entries behind the newest timestamp it is told that nobody vouches for them', () => {
  const origin = 'log.example/00000065897abbb178d59a98b5bbc2f5'
  const stamp = { kind: 'timestamp' as const, path: 'token', time: '2026-03-10T18:00:00.000Z', accuracyMs: 0 }
  const head = { epoch: 3, time: stamp.time, isNewest: true, body: { refused: '' } }
  const stamped = [3, 5].map((entries) => ({
    anchor: { ...stamp, authority: 'tsa', epoch: 3, entries },
    head,
    origin,
  }))
  const said = (size: number) => outsideOf(undefined, { stamped, open: [] }, { origin, size }, 'held')
  expect(said(5)).toMatchObject({ state: 'held', notes: [] })
  expect(said(6).notes).toEqual(['entries from 5 on are newer than the timestamps: no authority vouches for them'])
})

test('what a timestamp covers cannot have been sealed later', () => {
  const root = new Uint8Array(32)
  const checkpoint = { origin: 'log.example/00000065897abbb178d59a98b5bbc2f5', size: 7, root, extensions: [] }
  const head = { epoch: 3, time: '2026-03-10T18:00:00.000Z', isNewest: false, body: checkpoint }
  const sealedAt = (seq: number) => (seq === 6 ? '2026-03-10T18:30:00.000Z' : undefined)
  const parts = { checkpoint, roots: new Roots(nodeSha256, []), sealedAt }
  const latest = Date.parse('2026-03-10T18:30:00.000Z')
  expect(checkHeads({ ...parts, heads: [{ ...head, latest }] })).toEqual([])
  expect(checkHeads({ ...parts, heads: [{ ...head, latest: latest - 1 }] })).toMatchObject([
    { code: 'sealed_after_timestamp', seq: 6, state: 'failed' },
  ])
})

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 500)))
    if (await holds()) return
  throw new Error('it does not come true')
}
