// The server's log: JSON lines on stderr. Of errors it tells what went wrong and where, never the data that was at hand:
// PostgreSQL's details quote rows, Node's quote addresses with their passwords, clients of services their requests.
import { type Logger, pino } from 'pino'
import type { Config } from '../config.ts'

/** Properties that name things of ours, or of the operating system. */
const harmless = ['code', 'schema', 'table', 'column', 'constraint', 'routine', 'syscall', 'address', 'port', 'path']

/** How deep causes are followed. */
const depth = 4

export function openLog(level: Config['logLevel']): Logger {
  const serializers = { err: (error: unknown) => toldOf(error, depth) }
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers }
  return pino(options, pino.destination(2))
}

/** What the log says of an error. */
export function toldOf(error: unknown, causes: number): object {
  if (!(error instanceof Error)) return { message: String(error) }
  const { name, message, stack, cause } = error
  return {
    type: name,
    message,
    ...Object.fromEntries(harmless.filter((key) => key in error).map((key) => [key, Reflect.get(error, key)])),
    stack,
    ...(error instanceof AggregateError &&
      causes > 0 && { errors: error.errors.map((one) => toldOf(one, causes - 1)) }),
    ...(cause !== undefined && causes > 0 && { cause: toldOf(cause, causes - 1) }),
  }
}
