/**
 * A witness of C2SP tlog-witness over HTTP: it cosigns a checkpoint of a log that it knows, if the log signed it and it
 * continues the last one that the witness cosigned, and remembers it before it answers.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type AddCheckpoint,
  type Checkpoint,
  cosign,
  FormatError,
  formatSignature,
  formatTreeSize,
  judgeAddCheckpoint,
  NoteError,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  TREE_SIZE_TYPE,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import { nodeSha256 as sha256 } from '../verify/node-hash.ts'
import type { WitnessState } from './state.ts'

/** The largest request: 63 proof lines, and a note with more signatures than any log has. */
const body_limit = 64 * 1024
const request_ms = 10_000
const connections = 256
/** For requests under way when the witness stops. */
const patience_ms = 2_000

export interface WitnessOptions {
  readonly state: WitnessState
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** One line for each decision. */
  readonly log: (line: string) => void
  /** Called when a checkpoint is durable and not answered yet. For tests that stop the process there. */
  readonly onPersisted?: () => void | Promise<void>
}

export interface RunningWitness {
  /** Submission prefix, without a trailing slash. */
  readonly url: string
  /** Finishes what is under way; resolves once the port is free. The state stays open. */
  stop(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly body: string
  readonly type?: string
}

/** Starts to listen. Rejects with the system's error if it cannot. */
export async function startWitness(options: WitnessOptions): Promise<RunningWitness> {
  const witness = new Witness(options)
  const server = createServer({ requestTimeout: request_ms, headersTimeout: request_ms }, (request, response) => {
    void witness.serve(request, response)
  })
  server.maxConnections = connections
  await listen(server, options)
  const { address, port, family } = server.address() as { address: string; port: number; family: string }
  const host = family === 'IPv6' ? `[${address}]` : address
  return {
    url: `http://${host}:${port}`,
    stop: () =>
      new Promise((resolve) => {
        witness.stopping = true
        // A connection that never carried a request counts as busy: nobody waits for it long, nor for one that stalls.
        const ending = setTimeout(() => server.closeAllConnections(), patience_ms)
        server.close(() => {
          clearTimeout(ending)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

function listen(server: Server, { host, port }: WitnessOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

class Witness {
  /** Clients that keep their connection must let go of it. */
  stopping = false
  readonly #options: WitnessOptions
  /** Comparing with the last head and replacing it must not overlap between two requests. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: WitnessOptions) {
    this.#options = options
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer
    try {
      answer = await this.#answer(request)
    } catch (error) {
      this.#options.log(`failed: ${(error as Error).message}`)
      answer = { status: 500, body: 'The witness could not keep the checkpoint; nothing was signed.\n' }
    }
    const { status, body, type = 'text/plain; charset=utf-8' } = answer
    if (this.stopping || !request.complete) response.setHeader('connection', 'close')
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const path = request.url?.split('?', 1)[0]
    if (path === '/' && (request.method === 'GET' || request.method === 'HEAD'))
      return { status: 200, body: describe(this.#options.state) }
    if (path !== '/add-checkpoint') return { status: 404, body: 'There is nothing here but POST /add-checkpoint.\n' }
    if (request.method !== 'POST') return { status: 405, body: 'Use POST.\n' }
    const body = await readBody(request)
    if (body === undefined) return { status: 413, body: `A request has at most ${body_limit} bytes.\n` }
    return this.#addCheckpoint(body)
  }

  async #addCheckpoint(body: Buffer): Promise<Answer> {
    const parsed = parse(body)
    if ('status' in parsed) return parsed
    const { request, checkpoint } = parsed
    const keys = this.#options.state.keysOf(checkpoint.origin)
    if (keys.length === 0) return { status: 404, body: 'This witness does not know the log.\n' }
    if (!(await isSigned(request.checkpoint, keys)))
      return { status: 403, body: 'No key of the log signed the checkpoint.\n' }
    const turn = this.#turn.then(() => this.#decide(request, checkpoint))
    this.#turn = turn.catch(() => {})
    return turn
  }

  async #decide(request: AddCheckpoint, checkpoint: Checkpoint): Promise<Answer> {
    const { state, log, onPersisted } = this.#options
    const { origin, size, root } = checkpoint
    const kept = state.head(origin)
    const status = judgeAddCheckpoint(sha256, request, checkpoint, kept)
    if (status !== 200) {
      log(`${status} ${origin}: ${size} after ${request.old}; the last cosigned is ${kept?.size ?? 0}`)
      if (status === 409) return { status, body: formatTreeSize(kept?.size ?? 0), type: TREE_SIZE_TYPE }
      return { status, body: refusals[status] }
    }
    const { text } = parseNote(request.checkpoint)
    const time = Math.max(Math.floor(Date.now() / 1000), kept?.time ?? 0)
    if (kept?.size !== size) await state.advance(origin, { size, root, note: request.checkpoint, time })
    await onPersisted?.()
    log(`200 ${origin}: ${size}`)
    return { status, body: formatSignature(await cosign(text, state.signer, time)) }
  }
}

const refusals = {
  400: 'The old size is larger than the checkpoint.\n',
  422: 'The consistency proof does not hold.\n',
} as const

function parse(body: Buffer): { request: AddCheckpoint; checkpoint: Checkpoint } | Answer {
  try {
    const request = parseAddCheckpoint(body)
    return { request, checkpoint: parseCheckpoint(parseNote(request.checkpoint).text) }
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof NoteError)) throw error
    return { status: 400, body: `${error.message}\n` }
  }
}

/** Whether a key of the log signed, and none of them wrongly: such a note is no note (C2SP signed-note). */
async function isSigned(note: string, keys: ReturnType<WitnessState['keysOf']>): Promise<boolean> {
  try {
    return (await verifyNote(verifyEd25519, note, keys)).verified.length > 0
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    return false
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let total = 0
  for await (const part of request) {
    total += (part as Buffer).length
    if (total > body_limit) return undefined
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts)
}

/** For people who look whether it runs. */
function describe(state: WitnessState): string {
  const logs = state.logs.map(({ origin, head }) => {
    const last =
      head === undefined ? 'nothing cosigned yet' : `size ${head.size}, ${new Date(head.time * 1000).toISOString()}`
    return `log ${origin}: ${last}`
  })
  return [`C2SP tlog-witness`, `vkey ${state.vkey}`, ...logs, ''].join('\n')
}
