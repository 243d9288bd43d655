// The one test command (`npm test`): style, types, unused code, then every test of every package.
//
//   npm test                     all of it
//   npm test -- --long           the same with longer parts (AFFIDAVIT_LONG=1); what .ci/run uses
//   npm test -- --again          files with a failure are run once more alone; what then passes is named as flaky
//   npm test -- PATH …           only the tests under these paths; vitest's own flags pass through
//
// Nothing needs to be set up: the tests bring their own PostgreSQL. The last line counts everything.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import process from 'node:process'

const root = join(import.meta.dirname, '..', '..')
const given = process.argv.slice(2)
const long = given.includes('--long')
const again = given.includes('--again')
const passed = given.filter((argument) => argument !== '--long' && argument !== '--again')
const env = { ...process.env, ...(long && { AFFIDAVIT_LONG: '1' }) }

interface Count {
  passed: number
  failed: number
  skipped: number
  /** Files in which something failed. */
  files: string[]
  /** One line each: the file, the test and how its error begins. */
  failures: string[]
  /** One line each: the file, and how many of its tests did not run. */
  left: string[]
}

/** npm installs these programs; each is a script that Node runs. */
const checks: [name: string, script: string, ...args: string[]][] = [
  ['style (biome)', 'node_modules/@biomejs/biome/bin/biome', 'check', '.'],
  ['types (tsc)', 'node_modules/typescript/bin/tsc', '-p', '.'],
  ['unused code (knip)', 'node_modules/knip/bin/knip.js'],
]

function notices(): void {
  const optional: [tool: string, args: string[], what: string][] = [
    ['go', ['version'], 'Go'],
    ['java', ['-version'], 'Java'],
    ['python3', ['--version'], 'Python'],
  ]
  for (const [tool, args, what] of optional)
    if (spawnSync(tool, args, { stdio: 'ignore' }).status !== 0)
      console.log(`notice: ${what} (${tool}) is missing here; the tests that need it are skipped`)
  if (!existsSync(join(root, '..', 'shared')))
    console.log('notice: there is no folder ../shared; the tests on its vectors and samples are skipped')
}

async function check([name, script, ...args]: (typeof checks)[number]): Promise<boolean> {
  const started = performance.now()
  const child = spawn(process.execPath, [join(root, script), ...args], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const code = await new Promise((resolve) => child.on('close', resolve))
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${code === 0 ? 'ok' : 'FAILED'}  ${name}  ${seconds} s`)
  if (code !== 0) console.log(output.trimEnd())
  return code === 0
}

async function tests(selection: string[]): Promise<Count> {
  const report = join(tmpdir(), `affidavit-tests-${process.pid}.json`)
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const child = spawn(
    process.execPath,
    [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...reporters, ...selection],
    { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] },
  )
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const code = await new Promise((resolve) => child.on('close', resolve))
  try {
    return counted(JSON.parse(readFileSync(report, 'utf8')) as Report, code === 0)
  } catch {
    // vitest did not get as far as a report; it has said why.
    return { passed: 0, failed: 1, skipped: 0, files: [], failures: ['vitest made no report'], left: [] }
  } finally {
    rmSync(report, { force: true })
  }
}

/** Of vitest's json reporter, which follows Jest's. */
interface Report {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: {
    name: string
    status: string
    message?: string
    assertionResults: { status: string; fullName: string; failureMessages?: string[] | null }[]
  }[]
}

/** A file that could not be loaded, and an error outside of all tests, count as one failure each. */
export function counted(report: Report, ok: boolean): Count {
  const files = report.testResults.filter(({ status }) => status === 'failed')
  const failures = files.flatMap((file) => {
    const name = relative(root, file.name)
    const tests = file.assertionResults.filter(({ status }) => status === 'failed')
    if (tests.length === 0) return [`${name}: ${opening(file.message)}`]
    return tests.map((test) => `${name} > ${test.fullName}: ${opening(test.failureMessages?.[0])}`)
  })
  if (failures.length === 0 && !ok) failures.push('an error outside of all tests')
  const left = report.testResults.flatMap((file) => {
    const count = file.assertionResults.filter(({ status }) => status !== 'passed' && status !== 'failed').length
    return count === 0 ? [] : [`${relative(root, file.name)} (${count})`]
  })
  return {
    passed: report.numPassedTests,
    failed: failures.length,
    skipped: report.numPendingTests + report.numTodoTests,
    files: files.map((file) => relative(root, file.name)),
    failures,
    left,
  }
}

/** How an error begins: enough to know it again in the tail of a log. */
function opening(message = ''): string {
  return message.trim().split('\n', 3).join(' | ').slice(0, 400)
}

/** Runs the files with a failure once more, nothing beside them: a second failure stays one, a pass is told as flaky. */
async function secondTry(first: Count): Promise<Count> {
  if (!again || first.files.length === 0 || first.files.length > 8) return first
  console.log(`running ${first.files.length} files with failures once more`)
  const flags = passed.filter((argument, at) => argument.startsWith('--') || passed[at - 1]?.startsWith('--'))
  const second = await tests([...flags, '--maxWorkers=1', ...first.files])
  const failed = new Set(second.files)
  for (const failure of first.failures)
    if (!failed.has(failure.split(/ > |: /, 1)[0] ?? '')) console.log(`FLAKY  ${failure}`)
  return { ...second, passed: first.passed + first.failed - second.failed, skipped: first.skipped, left: first.left }
}

async function main(): Promise<void> {
  notices()
  // The tests wait for something now and then, and the checks fill that time.
  const [results, first] = await Promise.all([Promise.all(passed.length > 0 ? [] : checks.map(check)), tests(passed)])
  const count = await secondTry(first)
  // A test that nobody misses is skipped for years: each is named.
  for (const file of count.left) console.log(`skipped  ${file}`)
  for (const failure of count.failures) console.log(`FAILED  ${failure}`)
  const failed = count.failed + results.filter((ok) => !ok).length
  console.log(`${count.passed + results.filter(Boolean).length} passed, ${failed} failed, ${count.skipped} skipped`)
  process.exitCode = failed === 0 ? 0 : 1
}

if (process.argv[1] === import.meta.filename) await main()
