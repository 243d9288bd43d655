// The load: plain HTTP over kept connections, batches as NDJSON made beforehand, so that the generator costs little of
// the two cores that it shares with the server.
import { Agent, request } from 'node:http'

export interface BatchReply {
  readonly accepted: number
  readonly duplicates: number
  readonly rejected: number
  readonly results: readonly unknown[]
}

export class Load {
  readonly #agent: Agent
  readonly #url: string
  readonly #key: string

  constructor(url: string, key: string, connections: number) {
    this.#url = url
    this.#key = key
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections })
  }

  post(path: string, body: Buffer, type: string, headers: Record<string, string> = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const sent = request(
        this.#url + path,
        {
          method: 'POST',
          agent: this.#agent,
          headers: {
            authorization: `Bearer ${this.#key}`,
            'content-type': type,
            'content-length': body.length,
            ...headers,
          },
        },
        (reply) => {
          const chunks: Buffer[] = []
          reply.on('data', (chunk: Buffer) => chunks.push(chunk))
          reply.on('end', () => {
            const text = Buffer.concat(chunks).toString()
            if (reply.statusCode! >= 300) reject(new Error(`${reply.statusCode} ${text.slice(0, 500)}`))
            else resolve(text)
          })
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }

  async batch(body: Buffer): Promise<BatchReply> {
    const reply = JSON.parse(
      await this.post('/v1/events/batch', body, 'application/x-ndjson', { prefer: 'return=minimal' }),
    ) as BatchReply
    if (reply.rejected > 0) throw new Error(`rejected: ${JSON.stringify(reply.results[0])}`)
    return reply
  }

  /** Sends all batches over `connections` at once; @returns seconds. */
  async sendAll(
    batches: readonly Buffer[],
    connections: number,
    onReply?: (latencyMs: number) => void,
  ): Promise<number> {
    let next = 0
    const start = performance.now()
    await Promise.all(
      Array.from({ length: connections }, async () => {
        for (let body = batches[next++]; body !== undefined; body = batches[next++]) {
          const sent = performance.now()
          await this.batch(body)
          onReply?.(performance.now() - sent)
        }
      }),
    )
    return (performance.now() - start) / 1000
  }

  close(): void {
    this.#agent.destroy()
  }
}
