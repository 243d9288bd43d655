// The process behind log-key-kill.test.ts: changes the log key in a key folder, killed by SIGKILL right after the n-th call
// that changes a file.
//   node log-key-kill-entry.ts <key folder> <action> <n> <argument>      prints what it made if it survives
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const [folder = '', action = '', most = '0', argument = ''] = process.argv.slice(2)
let calls = 0

/** Lets a call happen, and perhaps nothing after it. */
async function last<T>(done: Promise<T>): Promise<T> {
  const result = await done
  if (++calls !== Number(most)) return result
  process.kill(process.pid, 'SIGKILL')
  return new Promise<never>(() => {})
}

const { open, link, unlink } = fs
const patched = {
  link: (...args: Parameters<typeof link>) => last(link(...args)),
  unlink: (...args: Parameters<typeof unlink>) => last(unlink(...args)),
  open: async (...args: Parameters<typeof open>) => {
    const handle = await (args[1] === 'wx' ? last(open(...args)) : open(...args))
    const names = ['write', 'writeFile', 'truncate'] as const
    for (const name of names) {
      const real = Reflect.get(handle, name).bind(handle) as (...values: unknown[]) => Promise<unknown>
      Object.defineProperty(handle, name, { value: (...values: unknown[]) => last(real(...values)) })
    }
    return handle
  },
}
Object.assign(fs, patched)
syncBuiltinESMExports()

const { openKeyFolder } = await import('../../server/src/keys/key-folder.ts')
const { addLogKey, openLogKeys, retireLogKeys } = await import('../../server/src/keys/log-key.ts')
const { beginLogRecovery, installLogSuccessor } = await import('../../server/src/keys/recovered-log-key.ts')
const provider = await openKeyFolder({ folder, mayCreateRoot: false })
const actions: Record<string, () => Promise<unknown>> = {
  /** As the server does it: not again before the log names the key. The argument is the vkey that it names. */
  rotate: async () => {
    const { log } = await openLogKeys(folder, provider, false)
    return log.vkey(argument.split('+')[0]!) === argument ? addLogKey(folder, provider) : log
  },
  retire: () => retireLogKeys(folder),
  /** The argument is the registry's origin. */
  begin: () => beginLogRecovery(folder, provider, argument),
  /** The argument is the signed entry. */
  install: () => installLogSuccessor(folder, provider, argument),
}
const made = await actions[action]!()
process.stdout.write(typeof made === 'string' ? made : String(calls))
