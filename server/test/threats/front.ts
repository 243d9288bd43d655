// What stands between a customer and the servers of a hostile operator: it decides which server answers what, and can
// give again what was answered before.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Place } from './visitor.ts'

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: Buffer
}

export class Front implements Place {
  readonly url: string
  readonly key: string
  readonly #server: Server

  private constructor(server: Server, key: string) {
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    this.key = key
    this.#server = server
  }

  /** @param route where the answer to a path comes from */
  static async start(key: string, route: (path: string) => Promise<Answer>): Promise<Front> {
    const server = createServer((request, response) => {
      void route(request.url!).then(({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type }).end(body)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new Front(server, key)
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

/** What a server answers now. */
export async function answerOf({ url, key }: Place, path: string): Promise<Answer> {
  const response = await fetch(url + path, { headers: { authorization: `Bearer ${key}` } })
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? 'text/plain',
    body: Buffer.from(await response.arrayBuffer()),
  }
}

/** The first answer to each path, for ever. */
export function frozen(place: Place): (path: string) => Promise<Answer> {
  const answers = new Map<string, Promise<Answer>>()
  return (path) => {
    const answer = answers.get(path) ?? answerOf(place, path)
    answers.set(path, answer)
    return answer
  }
}
