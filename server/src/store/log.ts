// What the ground and the stages ask of a logger. A pino logger is one.

export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** For tests and tools that have nothing to say. */
export const silent: Log = { info: () => {}, warn: () => {}, error: () => {} }
