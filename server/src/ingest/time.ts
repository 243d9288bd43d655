/** Times as clients write them: RFC 3339 and its ISO 8601 neighbours, without a zone, with finer fractions. */

const shape =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,30}))?)?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)?$/

const dayMs = 86_400_000

/**
 * Ms since 1970 of a time of 1970 or later, or undefined when the text is none. Without a zone it is UTC; what is
 * finer than a millisecond is cut, never rounded, so that no event moves into the future. A leap second (:60) is the
 * first moment of the next minute, as in POSIX.
 */
export function parseTime(text: string): number | undefined {
  if (text !== lastText) {
    lastText = text
    lastMs = parse(text)
  }
  return lastMs
}

/** An event's time is checked and then used: the second look costs nothing. */
let lastText = ''
let lastMs: number | undefined

function parse(text: string): number | undefined {
  const match = shape.exec(text)
  if (match === null) return undefined
  const [, year, month, day, hour, minute, second = '0', fraction = '', , sign, offsetHour = '0', offsetMinute = '0'] =
    match
  const [h, m, s] = [Number(hour), Number(minute), Number(second)]
  if (h > 23 || m > 59 || s > 60 || Number(offsetHour) > 23 || Number(offsetMinute) > 59) return undefined
  const date = Date.UTC(Number(year), Number(month) - 1, Number(day))
  if (Number(year) < 1000 || !isDate(date, Number(month), Number(day))) return undefined
  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60_000 * (sign === '-' ? -1 : 1)
  const ms = date + ((h * 60 + m) * 60 + s) * 1000 + Number(fraction.slice(0, 3).padEnd(3, '0')) - offset
  return ms >= 0 ? ms : undefined
}

/** Date.UTC carries what does not exist over into a neighbouring month. */
function isDate(date: number, month: number, day: number): boolean {
  const made = new Date(date)
  return made.getUTCDate() === day && made.getUTCMonth() === month - 1
}

/** YYYY-MM-DDTHH:MM:SS.mmmZ; the day is kept between calls because formatting it is the slow part. */
export function formatTime(ms: number): string {
  const day = Math.floor(ms / dayMs)
  if (day !== lastDay) {
    lastDay = day
    lastPrefix = new Date(day * dayMs).toISOString().slice(0, 11)
  }
  const rest = ms - day * dayMs
  return `${lastPrefix}${two((rest / 3_600_000) | 0)}:${two(((rest / 60_000) | 0) % 60)}:${two(((rest / 1000) | 0) % 60)}.${String(rest % 1000).padStart(3, '0')}Z`
}

let lastDay = Number.NaN
let lastPrefix = ''

function two(n: number): string {
  return n < 10 ? `0${n}` : String(n)
}
