// How PostgreSQL's values arrive in JavaScript. One rule per type, none of them lossy in silence:
//
//   bigint         number; a value beyond 2^53 is an error, for every bigint that is read alone is a count, a sequence
//                  number or a position. Read keyed hashes as bigint[] or as text.
//   bigint[]       bigint[]: keyed hashes fill all 64 bits
//   timestamptz    number: milliseconds since 1970, finer digits cut off; ±Infinity for PostgreSQL's infinities
//   date           string, YYYY-MM-DD: a day has no time zone to get wrong
//   all else       as `pg` does it (bytea: Buffer, uuid: string, numeric: string, json: parsed)
import pg from 'pg'

type Parser = (text: string) => unknown

export function int8(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} is beyond 2^53; read it as text`)
  return value
}

export function int8Array(text: string): (bigint | null)[] {
  if (text === '{}') return []
  return text
    .slice(1, -1)
    .split(',')
    .map((item) => (item === 'NULL' ? null : BigInt(item)))
}

const digits = (text: string, from: number, to: number) => {
  let value = 0
  for (let at = from; at < to; at++) value = value * 10 + text.charCodeAt(at) - 48
  return value
}

/** Sessions run in UTC with ISO dates, so the text is `2026-03-10 18:33:14.123456+00`, whose places are fixed. */
export function timestamptz(text: string): number {
  if (text.charCodeAt(4) === 45 && text.charCodeAt(10) === 32 && text.endsWith('+00')) {
    const fraction = text.charCodeAt(19) === 46 ? text.slice(20, -3) : ''
    const ms = fraction === '' ? 0 : digits(fraction.padEnd(3, '0'), 0, 3)
    return Date.UTC(
      digits(text, 0, 4),
      digits(text, 5, 7) - 1,
      digits(text, 8, 10),
      digits(text, 11, 13),
      digits(text, 14, 16),
      digits(text, 17, 19),
      ms,
    )
  }
  if (text === 'infinity') return Number.POSITIVE_INFINITY
  if (text === '-infinity') return Number.NEGATIVE_INFINITY
  throw new RangeError(`timestamptz ${text} is outside the years 1 to 9999, or the session is not in UTC`)
}

const parsers = new Map<number, Parser>([
  [20, int8],
  [1016, int8Array],
  [1184, timestamptz],
  [1082, (text) => text],
])

export const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    (format !== 'binary' && parsers.get(oid)) ||
    pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
}
