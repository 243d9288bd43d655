/**
 * The documents execute: every `sh` and `ts` snippet of the README, the guides and the operating pages runs here, page
 * by page, against a server of its own. What cannot run in a test (installing, starting) is fenced as `console`.
 *
 * A page's snippets share one folder, in which `data/` is the server's and `npx affidavit` is this checkout's. Its `ts`
 * snippets are one program, which must type-check and end by itself.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { referencePages } from './reference.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const root = join(import.meta.dirname, '..', '..')
const written = 'http://127.0.0.1:4100'
const hasShell = ['bash', 'curl'].every((tool) => spawnSync(tool, ['--version']).status === 0)
if (!hasShell) console.warn('Skipped: shell snippets of the documents, because bash or curl is missing')

const pagesIn = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`)

const pages = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'sdk/README.md', 'trail/README.md', ...pagesIn('docs')]
const executed = pages.filter((page) => /^(README|sdk\/|trail\/|docs\/(guides|operating|concepts)\/)/.test(page))

interface Snippet {
  readonly language: string
  readonly code: string
}

function snippetsOf(page: string): Snippet[] {
  const text = readFileSync(join(root, page), 'utf8')
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, code]) => ({
    language: language!,
    code: code!,
  }))
}

describe('links', () => {
  test.each(pages)('%s points to files and headings that are there', (page) => {
    const text = proseOf(join(root, page))
    const broken = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].flatMap(([, path, anchor]) => {
      const target = path === '' ? join(root, page) : join(root, dirname(page), path!)
      if (!existsSync(target)) return [path]
      return anchor === undefined || headings(target).includes(anchor) ? [] : [`${path}#${anchor}`]
    })
    expect(broken).toEqual([])
  })

  test.each(pages)('%s names source files that are there', (page) => {
    const named = [...readFileSync(join(root, page), 'utf8').matchAll(/`([\w./-]+\/[\w.-]+\.(?:ts|sql|py))`/g)]
    const places = ['', 'server/src', 'server']
    const missing = named
      .map(([, path]) => path!)
      .filter((path) => !places.some((at) => existsSync(join(root, at, path))))
    expect(missing).toEqual([])
  })

  test('no page has two headings that a link cannot tell apart', () => {
    const twice = pages.flatMap((page) => {
      const all = headings(join(root, page))
      return all.filter((heading, at) => all.indexOf(heading) < at).map((heading) => `${page}#${heading}`)
    })
    expect(twice).toEqual([])
  })

  test('every page of docs is linked from another one', () => {
    const linked = new Set(
      pages.flatMap((page) =>
        [...readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#\s]+)/g)].map(([, path]) =>
          join(dirname(page), path!),
        ),
      ),
    )
    expect(pagesIn('docs').filter((page) => !linked.has(page) && !linked.has(dirname(page)))).toEqual([])
  })
})

test.each(Object.entries(referencePages()))('%s is what its table says', (page, text) => {
  expect(readFileSync(join(root, page), 'utf8')).toBe(text)
})

/** Without the fenced parts. */
const proseOf = (path: string) => readFileSync(path, 'utf8').replace(/^```.*?^```$/gms, '')

/** As GitHub spells them. */
const headings = (path: string) =>
  [...proseOf(path).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

describe('snippets', () => {
  let database: TestDatabase
  let server: StartedServer
  let folder: string
  let environment: Record<string, string>

  beforeAll(async () => {
    database = await freshDatabase()
    server = await startedServer(database.url)
    spawnSync(process.execPath, ['web/verify/build.ts', '--if-stale'], { cwd: root })
    folder = await mkdtemp(join(tmpdir(), 'affidavit-docs-'))
    await mkdir(join(folder, 'bin'))
    const node = (script: string) => `#!/bin/sh\nexec "${process.execPath}" ${script}\n`
    const npx = node(`"${join(root, 'cli/bin/affidavit.mjs')}" "$@"`).replace('exec', 'shift\nexec')
    await writeFile(join(folder, 'bin', 'npx'), npx)
    await writeFile(join(folder, 'bin', 'node'), node('"$@"'))
    for (const name of ['npx', 'node']) await chmod(join(folder, 'bin', name), 0o755)
    environment = {
      ...(process.env as Record<string, string>),
      PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
      AFFIDAVIT_URL: server.url,
      AFFIDAVIT_KEY: '',
      AFFIDAVIT_DATA_DIR: '',
      NODE_NO_WARNINGS: '1',
    }
  })

  afterAll(async () => {
    await server?.stop()
    await database?.drop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  /** A page's own folder, with what its reader has: the data folder, and the packages of the checkout. */
  async function pageFolder(page: string): Promise<string> {
    const own = join(folder, page.replaceAll('/', '_'))
    await mkdir(own)
    await symlink(server.dataDir, join(own, 'data'))
    for (const name of ['node_modules', 'cli']) await symlink(join(root, name), join(own, name))
    await writeFile(join(own, 'package.json'), '{"type":"module"}')
    await writeFile(join(own, 'cloudtrail.json'), JSON.stringify({ Records: [cloudtrailRecord] }))
    await writeFile(join(own, 'okta.ndjson'), `${JSON.stringify(oktaRecord)}\n`)
    for (const before of givenTo[page] ?? []) {
      const ran = await run('bash', ['-euo', 'pipefail', '-c', here(before)], own, environment)
      expect(ran.code, ran.output).toBe(0)
      await notarized()
    }
    return own
  }

  /** Until every event is under a checkpoint: a reader takes longer than that from one snippet to the next. */
  async function notarized(): Promise<void> {
    for (;;) {
      const { rows } = await database.superuser.query(
        'select from affidavit.heads h left join affidavit.notarized n using (trail) where h.size > coalesce(n.size, 0) limit 1',
      )
      if (rows.length === 0) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  const here = (code: string) => code.replaceAll(written, server.url)

  const programOf = (page: string) =>
    snippetsOf(page)
      .filter(({ language }) => language === 'ts')
      .map(({ code }) => code)

  test('the programs of all pages type-check', async () => {
    const own = join(folder, 'typed')
    await mkdir(own)
    await symlink(join(root, 'node_modules'), join(own, 'node_modules'))
    await writeFile(join(own, 'package.json'), '{"type":"module"}')
    const files: string[] = []
    for (const page of executed.filter((one) => programOf(one).length > 0)) {
      files.push(`${page.replaceAll('/', '_')}.ts`)
      await writeFile(join(own, files.at(-1)!), here(programOf(page).join('\n')))
    }
    expect(files.length).toBeGreaterThan(3)
    const checker = join(root, 'node_modules/typescript/bin/tsc')
    const options = '--noEmit --strict --skipLibCheck --target esnext --module nodenext --types node'.split(' ')
    const flags = ['--allowImportingTsExtensions', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes']
    const forced = ['--moduleDetection', 'force'] // a page without imports is no script that shares names with others
    const typed = await run(process.execPath, [checker, ...options, ...flags, ...forced, ...files], own, environment)
    expect(typed.code, typed.output).toBe(0)
  })

  for (const page of executed) {
    const shell = snippetsOf(page).filter(({ language }) => language === 'sh')
    const program = programOf(page)
    if (shell.length + program.length === 0) continue

    // The shell comes first: programs read what it made. Each snippet stops at its first command that fails.
    test.skipIf(!hasShell && shell.length > 0)(`${page} runs as it is written`, async () => {
      const own = await pageFolder(page)
      for (const { code } of shell) {
        const ran = await run('bash', ['-euo', 'pipefail', '-c', here(code)], own, environment)
        expect(ran.code, `${code}\n${ran.output}`).toBe(0)
        await notarized()
      }
      if (program.length === 0) return
      await writeFile(join(own, 'page.ts'), here(program.join('\n')))
      const withKey = { ...environment, AFFIDAVIT_KEY: server.key }
      const ran = await run(process.execPath, ['page.ts'], own, withKey)
      expect(ran.code, ran.output).toBe(0)
    })
  }

  test('a snippet that breaks is noticed', async () => {
    const own = await pageFolder('broken')
    const broken = await run('bash', ['-euo', 'pipefail', '-c', 'npx affidavit verify absent.zip'], own, environment)
    expect(broken.code).toBe(2)
    expect(broken.output).toContain('absent.zip')
  })
})

test('what is fenced as console is npm, or a server that is started', () => {
  const lines = executed.flatMap((page) =>
    snippetsOf(page)
      .filter(({ language }) => language === 'console')
      .flatMap(({ code }) => code.trim().split('\n')),
  )
  const scripts = Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest).scripts)
  for (const line of lines) {
    expect(line).toMatch(
      /^(npm (ci|start|test)|([A-Z_]+=\S+ )*(npx affidavit (serve|backup|restore|scrub --acknowledge|keys (rotate|retire|rewrap|recover))|npm start)|pg_\w+ |systemctl |(\w+=\$\()?aws |tar |curl )/,
    )
    for (const [, script] of line.matchAll(/npm (start|test)/g)) expect(scripts).toContain(script)
  }
})

interface Manifest {
  readonly scripts: Readonly<Record<string, string>>
}

interface Ran {
  readonly code: number | null
  readonly output: string
}

function run(program: string, args: string[], cwd: string, env: Record<string, string>): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** What a page's reader was given by somebody else before. */
const givenTo: Readonly<Record<string, readonly string[]>> = {
  'docs/guides/verify.md': [
    `curl -sSf ${written}/v1/events -H "Authorization: Bearer $(cat data/operator.key)" -H 'Content-Type: application/json' \\
      -d '{"id": "login-7", "tenant": "org_1", "action": "user.login", "actor": {"id": "user_1", "name": "Ann"}}'`,
    `npx affidavit tenants show org_1 --json | node -p "JSON.parse(require('fs').readFileSync(0)).vkey" > vkey.txt
    npx affidavit keys create --name Auditor --tenant org_1 --scope verify --scope events:read > auditor.key
    npx affidavit pack --tenant org_1 -o org_1.affidavit.zip`,
  ],
}

const cloudtrailRecord = {
  eventVersion: '1.08',
  eventID: '8a8844ff-dc95-4ef5-87d2-d86cc23fedd0',
  eventTime: '2026-03-10T18:33:14Z',
  eventSource: 'iam.amazonaws.com',
  eventName: 'CreateUser',
  awsRegion: 'us-east-1',
  sourceIPAddress: '192.0.2.7',
  userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::111111111111:user/sarah', userName: 'sarah' },
  requestParameters: { userName: 'mark' },
  recipientAccountId: '111111111111',
}

const oktaRecord = {
  uuid: 'aa0b1c2d-0000-11ee-9a03-0242ac120002',
  published: '2026-03-10T18:33:14.123Z',
  eventType: 'user.session.start',
  actor: { id: '00u1', type: 'User', alternateId: 'sarah@example.com', displayName: 'Sarah Johnson' },
  outcome: { result: 'SUCCESS' },
  client: { ipAddress: '192.0.2.7' },
}
