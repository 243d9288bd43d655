// One bounded HTTP request to somebody else's server: time, size of the answer and, where asked, the address are
// limited; redirects are not followed. A caller whose URL came from outside sets `publicOnly`, so that nobody can make
// the server talk to its own network (SSRF): the address is checked where the connection is made, after the name was
// looked up, so a name that changes its mind between check and connection gains nothing.
import { lookup as resolveName } from 'node:dns'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { canonicalAddress } from '../filter/address.ts'

// Importing node:http would load fetch's client as well, which costs this thread 50 ms and 13 MB.
const { Agent: HttpAgent, request: httpRequest } = process.getBuiltinModule('node:http')

/** There is no answer: unreachable, too slow, too large, or an address that is not allowed. The message is for people. */
export class NoAnswer extends Error {
  override name = 'NoAnswer'
}

export interface Outgoing {
  readonly url: string
  readonly body: string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  /** Until the last byte of the answer. */
  readonly timeout_ms: number
  /** Most bytes of the answer's body. */
  readonly limit: number
  readonly publicOnly?: boolean
}

export interface Answered {
  readonly status: number
  /** Media type without parameters, lower case; empty when there is none. */
  readonly type: string
  readonly body: Buffer
}

const agents = (options: { keepAlive: true; maxSockets: number }) => ({
  'http:': new HttpAgent(options),
  'https:': new HttpsAgent(options),
})

/** Keeps connections open between requests. To be closed. */
export class Outbound {
  readonly #agents = agents({ keepAlive: true, maxSockets: 8 })

  /** POST. @throws NoAnswer */
  async post({ url: text, body, headers, timeout_ms, limit, publicOnly = false }: Outgoing): Promise<Answered> {
    const url = new URL(text)
    if (publicOnly && isPrivateLiteral(url)) throw privateAddress(url.hostname)
    const signal = AbortSignal.timeout(timeout_ms)
    const options: RequestOptions = {
      method: 'POST',
      agent: this.#agents[url.protocol as keyof ReturnType<typeof agents>],
      headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'affidavit' },
      signal,
      ...(publicOnly && { lookup: publicLookup }),
    }
    try {
      const response = await send(url, options, body)
      return {
        status: response.statusCode ?? 0,
        type: (response.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase(),
        body: await readAll(response, limit),
      }
    } catch (error) {
      if (error instanceof NoAnswer) throw error
      const reason = signal.aborted ? `no answer within ${timeout_ms / 1000} s` : reasonOf(error)
      throw new NoAnswer(`${url.host}: ${reason}`, { cause: error })
    }
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }
}

function send(url: URL, options: RequestOptions, body: string | Uint8Array): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, resolve)
    request.on('error', reject)
    request.end(body)
  })
}

async function readAll(response: IncomingMessage, limit: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let total = 0
  for await (const part of response) {
    total += (part as Buffer).length
    if (total > limit) {
      response.destroy()
      throw new NoAnswer(`an answer of more than ${limit} bytes`)
    }
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts)
}

function reasonOf(error: unknown): string {
  const inner = (error as AggregateError).errors?.[0] ?? error
  if (inner instanceof NoAnswer) return inner.message
  const { code, message } = inner as NodeJS.ErrnoException
  return code === undefined || message.includes(code) ? message : `${code} ${message}`
}

const privateAddress = (host: string) =>
  new NoAnswer(`${host} is no public address; allow_private_addresses in the anchors' file permits it`)

/** Not for the public Internet (IANA special-purpose registries), or leading back to such an address. */
const privateNetworks = new BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  privateNetworks.addSubnet(network, prefix, 'ipv4')

/** Global unicast, out of which some ranges carry an IPv4 address or are reserved. */
const publicNetworks = new BlockList()
publicNetworks.addSubnet('2000::', 3, 'ipv6')
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  privateNetworks.addSubnet(network, prefix, 'ipv6')

/** Whether an address (not a name) is of no use on the public Internet. */
export function isPrivateAddress(text: string): boolean {
  const address = canonicalAddress(text)
  if (address === undefined) return true
  if (isIP(address) === 4) return privateNetworks.check(address, 'ipv4')
  return !publicNetworks.check(address, 'ipv6') || privateNetworks.check(address, 'ipv6')
}

/** An address in the URL itself is never looked up. */
function isPrivateLiteral({ hostname }: URL): boolean {
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(host) !== 0 && isPrivateAddress(host)
}

const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, '', 0)
    if (addresses.some(({ address }) => isPrivateAddress(address))) return callback(privateAddress(hostname), '', 0)
    if (options.all === true) return callback(null, addresses)
    callback(null, addresses[0]!.address, addresses[0]!.family)
  })
}
