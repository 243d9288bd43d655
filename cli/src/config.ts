/**
 * The one place of the command line that reads the environment. What the server reads stands in the server's
 * config.ts; here is what a client needs: where the server is, and the key.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure, reasonOf } from './failure.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export const environment: Environment = process.env

const DEFAULT_URL = 'http://127.0.0.1:4100'
const DEFAULT_DATA = './data'

/** Options that all client commands have. */
export interface ServerOptions {
  readonly url?: string
  readonly key?: string
}

export interface Endpoint {
  /** Without a trailing slash. */
  readonly url: string
  readonly key: string
}

/** Where the server is and the key to use there. Throws Failure. */
export function endpoint(options: ServerOptions, environment: Environment): Endpoint {
  const url = serverUrl(options.url ?? (environment.AFFIDAVIT_URL || DEFAULT_URL))
  return { url, key: keyFor(url, options.key, environment) }
}

/** A server's address in its one spelling. Throws Failure. */
export function serverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new Failure(`${JSON.stringify(text)} is no address of a server. Write it like ${DEFAULT_URL}.`)
  if (url.username !== '' || url.password !== '')
    throw new Failure('The address of the server holds a password. Give the API key with --key or AFFIDAVIT_KEY.')
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

/**
 * The key for a server: the option, the environment, else the operator key that a server on this machine wrote. That
 * file is used for this machine only: it opens everything, and must not be sent to whatever address was typed.
 */
export function keyFor(url: string, option: string | undefined, environment: Environment): string {
  const given = option ?? environment.AFFIDAVIT_KEY
  if (given) return checkedKey(given.trim())
  const path = join(environment.AFFIDAVIT_DATA_DIR || DEFAULT_DATA, 'operator.key')
  if (!isLoopback(url)) throw new Failure(`${url} needs an API key. Give it with --key or AFFIDAVIT_KEY.`)
  try {
    return checkedKey(readFileSync(path, 'utf8').trim())
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(
      `There is no API key: give one with --key or AFFIDAVIT_KEY. (The operator key was looked for in ${path}: ` +
        `${reasonOf(error)}. AFFIDAVIT_DATA_DIR names the folder of the server's data.)`,
    )
  }
}

function checkedKey(key: string): string {
  if (!/^[\x21-\x7e]{1,512}$/.test(key))
    throw new Failure('The API key holds spaces or characters that no key has. Copy it again: aff_….')
  return key
}

/** Whether an address is this machine. */
export function isLoopback(url: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname)
}

/** Colours and redrawn lines: only on a terminal, and not where the user asked for none (no-color.org). */
export function wantsColour(stream: { readonly isTTY?: boolean }, environment: Environment): boolean {
  return stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb'
}

/** For `--help`: variables of the client commands. */
export const variables: readonly (readonly [name: string, about: string])[] = [
  ['AFFIDAVIT_URL', `Address of the server (default ${DEFAULT_URL})`],
  ['AFFIDAVIT_KEY', 'API key. Default on the machine of the server: operator.key in its data folder'],
  ['AFFIDAVIT_DATA_DIR', `Data folder of the server (default ${DEFAULT_DATA})`],
  ['NO_COLOR', 'Set to anything: no colours'],
]
