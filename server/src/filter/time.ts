// Times in a filter: a day, or a time of day with or without a zone.

const shape = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/

/**
 * Milliseconds since 1970 of an ISO 8601 date or time; a date is its first moment, a time without zone is UTC, digits
 * finer than milliseconds are cut (as in events). Undefined when it is no such time.
 */
export function parseTime(text: string): number | undefined {
  const match = shape.exec(text)
  if (match === null) return undefined
  const [, year, month, day, hour = '00', minute = '00', second = '00', fraction = '', zone = 'Z'] = match
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.slice(0, 3).padEnd(3, '0')}Z`
  const time = Date.parse(local)
  // Date.parse takes 30 February for 1 March: a date that does not come back is no date.
  if (Number.isNaN(time) || new Date(time).toISOString() !== local) return undefined
  const offset = zoneMinutes(zone)
  return offset === undefined ? undefined : time - offset * 60_000
}

function zoneMinutes(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0
  const digits = zone.slice(1).replace(':', '')
  const hours = Number(digits.slice(0, 2))
  const minutes = Number(digits.slice(2) || '0')
  if (hours > 23 || minutes > 59) return undefined
  return (zone.startsWith('-') ? -1 : 1) * (60 * hours + minutes)
}
