// A backup or restore in a process of its own that is killed, as by the kernel, when it reaches a step.
//   node safekeeping-process-entry.ts backup|restore FOLDER STEP      settings from the environment

import { bringBack, keep } from '../src/assembly/safekeeping.ts'
import { readConfig } from '../src/config.ts'

const [what, folder, last] = process.argv.slice(2)
const read = readConfig()
if (!read.ok) throw new Error(read.problems.join('\n'))
const onProgress = ({ step, bytes }: { step: string; bytes: number }) => {
  if (step === last || (last === 'in the middle' && bytes > 4_000_000)) process.kill(process.pid, 'SIGKILL')
}
if (what === 'backup') await keep(read.config, { folder: folder!, onProgress })
else await bringBack(read.config, { folder: folder!, to: undefined, replace: true, onProgress })
