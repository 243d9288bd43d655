// One spelling per IP address, so that a search for an address finds every way of writing it.
import { isIP, SocketAddress } from 'node:net'

const mappedPrefix = '::ffff:'

/** RFC 5952 spelling; IPv4-mapped IPv6 as IPv4 (RFC 4291 §2.5.5.2), no zone; undefined when it is no address. */
export function canonicalAddress(text: string): string | undefined {
  const bare = text.trim().replace(/^\[(.*)\]$/, '$1')
  const zone = bare.indexOf('%')
  const address = zone < 0 ? bare : bare.slice(0, zone)
  const version = isIP(address)
  if (version === 0) return undefined
  if (version === 4) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  const mapped = canonical.startsWith(mappedPrefix) ? canonical.slice(mappedPrefix.length) : ''
  return isIP(mapped) === 4 ? mapped : canonical
}
