// A real server of the KMS API for tests: moto, with a proxy before it that can be taken away, and that can answer for one
// action what AWS answers whom it does not let (moto itself does not look at who asks).
//
//   const kms = await startKms()                 // null where moto cannot be had
//   const key = await kms.key('alias/affidavit')
//   kms.down(); kms.up(); kms.deny('Decrypt')
//   afterAll(() => kms?.stop())
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateAliasCommand,
  CreateKeyCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  KMSClient,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms'
import { freePort } from './ports.ts'
import { pythonWith } from './python-programs.ts'

export interface TestKms {
  readonly endpoint: string
  readonly region: string
  /** What a process needs to find its credentials. */
  readonly credentials: { readonly AWS_ACCESS_KEY_ID: string; readonly AWS_SECRET_ACCESS_KEY: string }
  /** A new key; its ARN. */
  key(alias?: string): Promise<string>
  moveAlias(alias: string, to: string): Promise<void>
  disable(key: string): Promise<void>
  stateOf(key: string): Promise<string | undefined>
  /** Requests by action, such as Decrypt, since it was last asked. */
  asked(): Record<string, number>
  /** Ends all connections and admits none until `up`. */
  down(): void
  /** Takes connections and answers nothing until `up`. */
  hang(): void
  /** Answers an action with AccessDeniedException until `up`. */
  deny(action: string): void
  up(): void
  stop(): Promise<void>
}

/** moto's server, which ends with the pipe to us: a test run that is killed leaves nothing behind. */
const program = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from moto.server import main
main(sys.argv[1:])
`

const region = 'eu-central-1'
const credentials = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testsecret' }

export async function startKms(): Promise<TestKms | null> {
  const python = await pythonWith('moto')
  if (python === null) return null
  const port = await freePort()
  const child = spawn(python, ['-c', program, '-H', '127.0.0.1', '-p', String(port)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const direct = `http://127.0.0.1:${port}`
  while (!(await answers(direct))) {
    if (child.exitCode !== null) throw new Error(`moto ended: ${output}`)
    await sleep(100)
  }
  const client = new KMSClient({
    region,
    endpoint: direct,
    credentials: { accessKeyId: 'test', secretAccessKey: 'testsecret' },
  })
  const proxy = new Between(port)
  const endpoint = await proxy.listen()
  return {
    endpoint,
    region,
    credentials,
    key: async (alias) => {
      const { KeyMetadata } = await client.send(new CreateKeyCommand({}))
      if (alias) await client.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: KeyMetadata!.KeyId }))
      return KeyMetadata!.Arn!
    },
    moveAlias: async (AliasName, TargetKeyId) => {
      await client.send(new UpdateAliasCommand({ AliasName, TargetKeyId }))
    },
    disable: async (arn) => {
      await client.send(new DisableKeyCommand({ KeyId: arn.split('/').at(-1) }))
    },
    stateOf: async (KeyId) => (await client.send(new DescribeKeyCommand({ KeyId }))).KeyMetadata?.KeyState,
    asked: () => proxy.asked(),
    down: () => proxy.become('down'),
    hang: () => proxy.become('hanging'),
    deny: (action) => proxy.become('up', action),
    up: () => proxy.become('up'),
    stop: async () => {
      client.destroy()
      await proxy.close()
      const ended = once(child, 'exit')
      child.kill()
      await ended
    },
  }
}

const answers = (url: string) =>
  fetch(`${url}/moto-api/`).then(
    () => true,
    () => false,
  )

class Between {
  readonly #to: number
  readonly #sockets = new Set<Socket>()
  readonly #asked = new Map<string, number>()
  #state: 'up' | 'down' | 'hanging' = 'up'
  #denied: string | undefined
  readonly #server = createServer((incoming, outgoing) => {
    const action = String(incoming.headers['x-amz-target']).split('.')[1] ?? ''
    this.#asked.set(action, (this.#asked.get(action) ?? 0) + 1)
    if (this.#state === 'hanging') return
    if (action === this.#denied) {
      outgoing.writeHead(400, { 'content-type': 'application/x-amz-json-1.1' })
      outgoing.end(
        JSON.stringify({
          __type: 'AccessDeniedException',
          Message: `User: arn:aws:iam::123456789012:user/affidavit is not authorized to perform: kms:${action} on this resource`,
        }),
      )
      return
    }
    const { method, url, headers } = incoming
    const onward = request({ host: '127.0.0.1', port: this.#to, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })

  constructor(to: number) {
    this.#to = to
    this.#server.on('connection', (socket) => {
      socket.on('error', () => {})
      if (this.#state === 'down') return void socket.destroy()
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  become(state: 'up' | 'down' | 'hanging', denied?: string): void {
    this.#state = state
    this.#denied = denied
    for (const socket of this.#sockets) socket.destroy()
  }

  asked(): Record<string, number> {
    const asked = Object.fromEntries(this.#asked)
    this.#asked.clear()
    return asked
  }

  async close(): Promise<void> {
    this.become('down')
    this.#server.close()
    await once(this.#server, 'close')
  }
}
