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
})
