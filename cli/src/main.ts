/** The `affidavit` command. Everything it does is in program.ts; here it meets the process. */

import { environment } from './config.ts'
import { run } from './program.ts'

// `affidavit … | head` closes our output early: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  environment,
}).catch((error: unknown) => {
  // Node would end with 1, which is a verdict here.
  process.stderr.write(`${(error as Error)?.stack ?? String(error)}\n`)
  process.stderr.write('affidavit: this is a mistake in affidavit itself, and says nothing about what was checked.\n')
  return 2
})
