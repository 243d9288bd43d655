/**
 * A real HTTP server that keeps events by id and misbehaves on command: the faults that networks, proxies and
 * overloaded servers produce, each before or after the events were stored.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'
import type { AuditEvent } from '../src/index.ts'

/** What happens to the next request instead of a normal answer. */
export type Fault =
  | { kind: 'status'; status: number; retryAfter?: string; location?: string; body?: string; stored?: boolean }
  | { kind: 'reset'; stored?: boolean }
  | { kind: 'slow'; ms: number }
  | { kind: 'truncated' }

export interface Seen {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: string
  at: number
}

export interface FaultyServer {
  url: string
  /** Consumed one per request, in order. */
  faults: Fault[]
  requests: Seen[]
  stored: Map<string, AuditEvent>
  /** Refuses single events of a batch; returns a problem or undefined. */
  refuse: (event: AuditEvent) => { code: string; detail: string; pointer?: string; status?: number } | undefined
  /** Largest number of events in one batch; more is answered with 413. */
  maxEvents: number
  close(): Promise<void>
}

export async function startFaultyServer(): Promise<FaultyServer> {
  const server = createServer((request, response) => void answer(request, response))
  const state: FaultyServer = {
    url: '',
    faults: [],
    requests: [],
    stored: new Map(),
    refuse: () => undefined,
    maxEvents: Number.POSITIVE_INFINITY,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = await read(request)
    state.requests.push(seen)
    const fault = state.faults.shift()
    if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms))
    const normal = fault === undefined || fault.kind === 'slow' || fault.kind === 'truncated'
    const reply = normal || fault.stored ? handle(seen) : undefined
    if (fault?.kind === 'reset') {
      request.socket.resetAndDestroy()
      return
    }
    if (fault?.kind === 'truncated') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '500' })
      response.write('{"accepted":')
      request.socket.destroySoon()
      return
    }
    if (fault?.kind === 'status') {
      if (fault.retryAfter !== undefined) response.setHeader('retry-after', fault.retryAfter)
      if (fault.location !== undefined) response.setHeader('location', fault.location)
      response.writeHead(fault.status, { 'content-type': 'application/problem+json' })
      response.end(fault.body ?? JSON.stringify({ status: fault.status, code: 'injected', detail: 'as ordered' }))
      return
    }
    response.writeHead(reply!.status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(reply!.body))
  }

  function handle(seen: Seen): { status: number; body: unknown } {
    if (seen.path === '/v1/events/batch') return batch(seen.body.split('\n').map((line) => JSON.parse(line)))
    if (seen.method === 'POST') return single(JSON.parse(seen.body))
    return { status: 404, body: { status: 404, code: 'not_found', detail: 'no such path' } }
  }

  function single(event: AuditEvent): { status: number; body: unknown } {
    const known = state.stored.has(event.id!)
    state.stored.set(event.id!, event)
    return { status: known ? 200 : 201, body: { id: event.id, seq: state.stored.size - 1 } }
  }

  function batch(events: AuditEvent[]): { status: number; body: unknown } {
    if (events.length > state.maxEvents)
      return { status: 413, body: { status: 413, code: 'too_large', detail: 'too many' } }
    const counts = { accepted: 0, duplicates: 0, rejected: 0 }
    const results: unknown[] = []
    for (const [index, event] of events.entries()) {
      const error = state.refuse(event)
      if (error) {
        counts.rejected++
        results.push({ index, status: error.status ?? 422, error })
      } else if (state.stored.has(event.id!)) counts.duplicates++
      else {
        counts.accepted++
        state.stored.set(event.id!, event)
      }
    }
    return { status: 200, body: { ...counts, results, trails: [] } }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state
}

async function read(request: IncomingMessage): Promise<Seen> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const raw = Buffer.concat(chunks)
  const body = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString()
  return { method: request.method!, path: request.url!, headers: request.headers, body, at: performance.now() }
}
