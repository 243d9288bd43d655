// What the ground and the stages ask of a logger, and what a log says of errors: what went wrong and where, never the data
// that was at hand. PostgreSQL's details quote rows, Node's quote addresses with their passwords, clients of services their
// requests.

/** A pino logger is one. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** For tests and tools that have nothing to say. */
export const silent: Log = { info: () => {}, warn: () => {}, error: () => {} }

/** Properties that name things of ours, or of the operating system. */
const harmless = ['code', 'schema', 'table', 'column', 'constraint', 'routine', 'syscall', 'address', 'port', 'path']

/** How deep causes are followed. */
const depth = 4

/** What a log says of an error; it can be cloned. */
export function toldOf(error: unknown, causes = depth): object {
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
