/** What a search compares, as docs/guides/search.md says it: folded addresses, IP addresses, words. */
import { isIP, SocketAddress } from 'node:net'
import { list, type Pair, type Part, part } from './restored.ts'

/** Letter case, Unicode composition and outer spaces do not tell e-mail addresses apart. */
export const fold = (text: string): string => text.normalize('NFKC').trim().toLowerCase()

/** One spelling per IP address (RFC 5952; IPv4-mapped as IPv4); undefined for anything else. */
export function addressOf(text: string): string | undefined {
  const bare = text
    .trim()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/%.*$/, '')
  const version = isIP(bare)
  if (version !== 6) return version === 4 ? bare : undefined
  const { address } = new SocketAddress({ address: bare, family: 'ipv6' })
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  return mapped?.[1] ?? address
}

const LONGEST_WORD = 64
const SEARCHED_UNITS = 1024

/** Runs of letters, digits and marks, without case, in the beginning of a text. */
export function wordsOf(text: string): string[] {
  const folded = text.slice(0, SEARCHED_UNITS).normalize('NFKC').toLowerCase()
  return [...new Set(folded.match(/[\p{L}\p{N}\p{M}]+/gu) ?? [])].filter((word) => word.length <= LONGEST_WORD)
}

/** A metadata value as a filter names it. */
export function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

/** The words of an event's own texts: action, reason, names, metadata. */
export function eventWords(event: Part): Set<string> {
  const words = new Set<string>()
  const take = (text: unknown) => {
    if (typeof text === 'string') for (const word of wordsOf(text)) words.add(word)
  }
  take(event.action)
  take(event.reason)
  for (const target of list(event.targets)) take(part(target).name)
  takeNames(event.actor, take)
  take(part(part(event.context).api_key).name)
  for (const value of Object.values(part(event.metadata))) take(value)
  return words
}

function takeNames(actor: unknown, take: (text: unknown) => void): void {
  const { name, on_behalf_of, impersonator } = part(actor)
  take(name)
  if (on_behalf_of !== undefined) takeNames(on_behalf_of, take)
  if (impersonator !== undefined) takeNames(impersonator, take)
}

/** The words by which a person is found. User agents and the numbers of IP addresses are none. */
export function personWords(values: readonly Pair[]): Set<string> {
  const words = new Set<string>()
  for (const [pointer, value] of values) if (pointer !== '/context/user_agent') takeWords(value, words)
  return words
}

function takeWords(value: unknown, words: Set<string>): void {
  if (typeof value === 'string') {
    if (addressOf(value) === undefined) for (const word of wordsOf(value)) words.add(word)
  } else if (typeof value === 'object' && value !== null)
    for (const member of Object.values(value)) takeWords(member, words)
}
