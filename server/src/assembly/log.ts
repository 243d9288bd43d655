// The server's log: JSON lines on stderr.
import { type DestinationStream, type Logger, pino } from 'pino'
import type { Config } from '../config.ts'
import { toldOf } from '../store/log.ts'

export function openLog(level: Config['logLevel'], to: DestinationStream = pino.destination(2)): Logger {
  // A background thread sends what is told of an error, for not every error can be cloned.
  const err = (error: unknown) => (error instanceof Error || typeof error !== 'object' ? toldOf(error) : error)
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err } }, to)
}
