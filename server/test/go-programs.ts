// Programs in Go that the tests run against: other people's witness, log clients and S3. Each is built once through the
// Go module proxy, under the versions that its go.mod and go.sum pin, and kept in a cache; where Go or the proxy is
// missing, the tests that need it are skipped with a notice.
//
//   const litewitness = await goProgram('litewitness')     // path of the binary, or null
//   node cli/bin/node24.mjs server/test/go-programs.ts     // builds all of them ahead (.ci/run does, in the background)
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

interface Source {
  /** Folder of a module of ours, from here; or none: a published module at a version. */
  readonly module?: string
  /** What `go build` or `go install` takes. */
  readonly package: string
}

const programs = {
  litewitness: { module: 'go/witness', package: 'filippo.io/torchwood/cmd/litewitness' },
  witnessctl: { module: 'go/witness', package: 'filippo.io/torchwood/cmd/witnessctl' },
  logcheck: { module: 'go/interop', package: './logcheck' },
  sumdbcheck: { module: 'go/interop', package: './sumdbcheck' },
  tesseracheck: { module: 'go/tessera', package: '.' },
  tesseralog: { module: 'go/tessera', package: './tesseralog' },
  versitygw: { package: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0' },
} as const satisfies Record<string, Source>

export type GoProgram = keyof typeof programs

const cache = process.env.AFFIDAVIT_GO_CACHE ?? join(tmpdir(), 'affidavit-go')

/** Of one process; other processes are kept apart by a lock file. */
const builds = new Map<GoProgram, Promise<string | null>>()

/**
 * Path of the program; null where it cannot be had, after a notice that says why. Building takes minutes: without
 * AFFIDAVIT_LONG it is used only if it is there already.
 */
export function goProgram(name: GoProgram): Promise<string | null> {
  const build = builds.get(name) ?? find(name, programs[name])
  builds.set(name, build)
  return build
}

async function find(name: GoProgram, source: Source): Promise<string | null> {
  const folder = join(cache, `${name}-${versionOf(source)}`)
  const path = join(folder, name)
  if (existsSync(path)) return path
  if ((await run('go', ['version'], '.')).code !== 0) return skip(name, 'Go is missing')
  if (process.env.AFFIDAVIT_LONG !== '1') return skip(name, 'it takes minutes to build, which happens only with --long')
  await mkdir(cache, { recursive: true })
  const unlock = await lock(`${folder}.lock`)
  try {
    if (existsSync(path)) return path
    const draft = `${folder}.${process.pid}`
    const built = await build(source, draft)
    if (built.code !== 0) return skip(name, `it could not be built: ${built.output.trim().split('\n').at(-1)}`)
    await rename(draft, folder)
    return path
  } finally {
    await unlock()
  }
}

function build({ module, package: name }: Source, into: string): Promise<Ran> {
  const install = ['install', '-trimpath', '-ldflags=-s -w']
  return module === undefined
    ? run('go', [...install, name], '.', { GOBIN: into })
    : run('go', [...install, '-mod=mod', name], join(import.meta.dirname, module), { GOBIN: into })
}

/** Changes with everything that decides what is built. */
function versionOf({ module, package: name }: Source): string {
  const version = createHash('sha256').update(name)
  if (module !== undefined) {
    const folder = join(import.meta.dirname, module)
    for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort())
      if (/\.(go|mod|sum)$/.test(file)) version.update(file).update(readFileSync(join(folder, file)))
  }
  return version.digest('hex').slice(0, 12)
}

function skip(name: string, why: string): null {
  console.warn(`Skipped: tests that need ${name}, because ${why}`)
  return null
}

/** A file that holds the process id of whoever builds; a dead one's is taken over. */
export async function lock(path: string): Promise<() => Promise<void>> {
  for (;;) {
    const file = await open(path, 'wx').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
    if (file) {
      await file.writeFile(String(process.pid))
      await file.close()
      return () => rm(path, { force: true })
    }
    const holder = await readFile(path, 'utf8').catch(() => '')
    if (/^\d+$/.test(holder) && !existsSync(`/proc/${holder}`)) await rm(path, { force: true })
    else await sleep(500)
  }
}

export interface Ran {
  readonly code: number | null
  readonly output: string
}

export function run(
  program: string,
  args: string[],
  cwd: string,
  environment: Record<string, string> = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const env = { ...process.env, GOTOOLCHAIN: 'local', ...environment }
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
    child.on('error', () => resolve({ code: null, output: `${program} cannot be run` }))
    child.on('close', (code) => resolve({ code, output }))
  })
}

if (process.argv[1] === import.meta.filename) {
  process.env.AFFIDAVIT_LONG = '1'
  for (const name of Object.keys(programs) as GoProgram[]) console.log(name, (await goProgram(name)) ?? 'is missing')
}
