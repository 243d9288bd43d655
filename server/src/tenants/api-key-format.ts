// The text of an API key: `aff_<env>_<id>_<secret><checksum>`.
//
//   env       which deployment it is for, e.g. `live` or `test`: 2 to 8 of a–z
//   id        12 base62 characters; public, shown in events and lists
//   secret    32 base62 characters, 190 bits: at rest its SHA-256 is enough, and no slow hash is needed
//   checksum  CRC-32 of all before it, as 6 base62 characters: a typo is refused without a look-up, and secret scanners
//             can tell a key from noise
import { hash, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID_CHARACTERS = 12
const SECRET_CHARACTERS = 32
const CHECKSUM_CHARACTERS = 6

const shape = new RegExp(
  `^aff_([a-z]{2,8})_([0-9A-Za-z]{${ID_CHARACTERS}})_([0-9A-Za-z]{${SECRET_CHARACTERS}})([0-9A-Za-z]{${CHECKSUM_CHARACTERS}})$`,
)

/** What authentication needs of a key's text; not the secret itself. */
export interface ParsedKey {
  env: string
  id: string
  /** SHA-256 of the secret, 32 bytes. */
  secretHash: Buffer
}

export const isEnvironment = (text: string) => /^[a-z]{2,8}$/.test(text)

/** A new key's text and what is stored of it. */
export function makeKey(env: string): ParsedKey & { text: string } {
  if (!isEnvironment(env)) throw new Error(`key environment ${JSON.stringify(env)} is not 2 to 8 of a–z`)
  const id = random(ID_CHARACTERS)
  const secret = random(SECRET_CHARACTERS)
  const body = `aff_${env}_${id}_${secret}`
  return { text: body + checksum(body), env, id, secretHash: hash('sha256', secret, 'buffer') }
}

/** Undefined when the text is not a key: wrong shape or wrong checksum. */
export function parseKey(text: string): ParsedKey | undefined {
  const match = shape.exec(text)
  if (match === null || checksum(text.slice(0, -CHECKSUM_CHARACTERS)) !== match[4]) return undefined
  return { env: match[1]!, id: match[2]!, secretHash: hash('sha256', match[3]!, 'buffer') }
}

function random(characters: number): string {
  let text = ''
  for (let at = 0; at < characters; at++) text += BASE62[randomInt(BASE62.length)]
  return text
}

function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let at = 0; at < CHECKSUM_CHARACTERS; at++) {
    digits = BASE62[rest % BASE62.length] + digits
    rest = Math.floor(rest / BASE62.length)
  }
  return digits
}
