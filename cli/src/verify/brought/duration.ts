/** Durations as the verifiers take them, on the command line and in the single file. */

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const

export const DURATION_EXPECTED = 'A duration such as 90s, 15m, 2h or 1d is expected.'

/** "15m" → 900 seconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? []
  return unit === undefined ? undefined : Number(count) * SECONDS[unit as keyof typeof SECONDS]
}
