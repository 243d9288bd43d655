// Somebody else's witness: torchwood's litewitness on a free port, its key in an ssh-agent of its own.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { goProgram } from './go-programs.ts'
import { freePort } from './ports.ts'

export interface Litewitness {
  readonly url: string
  readonly vkey: string
  addLog(origin: string, vkey: string): Promise<void>
  stop(): Promise<void>
}

const run = promisify(execFile)

/** Null where it, or ssh-agent, cannot be had. */
export async function startLitewitness(name: string): Promise<Litewitness | null> {
  const [litewitness, witnessctl] = [await goProgram('litewitness'), await goProgram('witnessctl')]
  if (litewitness === null || witnessctl === null) return null
  if (spawnSync('ssh-agent', ['-?']).error !== undefined) {
    console.warn('Skipped: tests that need litewitness, because ssh-agent is missing')
    return null
  }
  const folder = await mkdtemp('/tmp/lw-') // the path of a Unix socket is short
  const socket = join(folder, 'agent')
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'witness', '-f', join(folder, 'key')])
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
  const env = { ...process.env, SSH_AUTH_SOCK: socket }
  await until(() => run('ssh-add', ['-q', join(folder, 'key')], { env }))
  const fingerprint = (await run('ssh-keygen', ['-lf', join(folder, 'key.pub')])).stdout.split(' ')[1]!
  const port = await freePort()
  const database = join(folder, 'w.db')
  const child = spawn(
    litewitness,
    ['-db', database, '-ssh-agent', socket, '-name', name, '-key', fingerprint, '-listen', `127.0.0.1:${port}`],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk))
  const url = `http://127.0.0.1:${port}`
  await until(() => fetch(url))
  return {
    url,
    vkey: /vkey="?([^"\s]+)/.exec(log)![1]!,
    addLog: async (origin, vkey) => {
      await run(witnessctl, ['add-log', '-db', database, '-origin', origin])
      await run(witnessctl, ['add-key', '-db', database, '-origin', origin, '-key', vkey])
    },
    stop: async () => {
      for (const process of [child, agent]) {
        const ended = once(process, 'exit')
        process.kill('SIGINT')
        if (process === agent) process.kill('SIGTERM')
        await ended
      }
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function until(works: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await works()
      return
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(100)
    }
  }
}
