/** Entry point of the verifier in one file: where it meets the process. */
import { environment } from '../../config.ts'
import { runSingleFile } from './single-file.ts'

process.exitCode = await runSingleFile(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  environment,
})
