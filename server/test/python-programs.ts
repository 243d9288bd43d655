// Programs in Python that the tests run against: so far moto, which speaks the API of AWS KMS. Each is installed once from
// PyPI into a virtual environment of its own, under a pinned version, and kept in a cache; where Python or PyPI is missing,
// the tests that need it are skipped with a notice.
//
//   const python = await pythonWith('moto')                    // path of a python that has it, or null
//   node cli/bin/node24.mjs server/test/python-programs.ts     // installs all of them ahead (.ci/run does, in the background)
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lock, run } from './go-programs.ts'

const programs = {
  moto: ['moto[kms]==5.2.5', 'flask==3.1.3', 'flask-cors==6.0.5'],
} as const satisfies Record<string, readonly string[]>

type PythonProgram = keyof typeof programs

const cache = process.env.AFFIDAVIT_PYTHON_CACHE ?? join(tmpdir(), 'affidavit-python')

/**
 * Path of a python that can import the program; null where it cannot be had, after a notice that says why. Installing
 * takes minutes: without AFFIDAVIT_LONG it is used only if it is there already.
 */
export async function pythonWith(name: PythonProgram): Promise<string | null> {
  const folder = join(cache, `${name}-${programs[name][0].split('==')[1]}`)
  const python = join(folder, 'bin', 'python')
  const whole = join(folder, 'whole')
  if (existsSync(whole)) return python
  if (process.env.AFFIDAVIT_LONG !== '1')
    return skip(name, 'it takes minutes to install, which happens only with --long')
  await mkdir(cache, { recursive: true })
  const unlock = await lock(`${folder}.lock`)
  try {
    if (existsSync(whole)) return python
    await rm(folder, { recursive: true, force: true })
    const made = await run('python3', ['-m', 'venv', folder], '.')
    if (made.code !== 0) return skip(name, `Python is missing: ${lastLine(made.output)}`)
    const installed = await run(python, ['-m', 'pip', 'install', '-q', ...programs[name]], '.')
    if (installed.code !== 0) return skip(name, `it could not be installed: ${lastLine(installed.output)}`)
    await writeFile(whole, '')
    return python
  } finally {
    await unlock()
  }
}

const lastLine = (output: string) => output.trim().split('\n').at(-1)

function skip(name: string, why: string): null {
  console.warn(`Skipped: tests that need ${name}, because ${why}`)
  return null
}

if (process.argv[1] === import.meta.filename) {
  process.env.AFFIDAVIT_LONG = '1'
  for (const name of Object.keys(programs) as PythonProgram[])
    console.log(name, (await pythonWith(name)) ?? 'is missing')
}
