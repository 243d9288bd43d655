/** A command that cannot go on: one sentence that says what is wrong and what to do, and the process's exit code. */

/** 1: the answer is no (refused, failed, tampered). 2: could not be carried out (usage, unreachable, malformed). */
export type FailureCode = 1 | 2

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly exitCode: FailureCode

  constructor(message: string, exitCode: FailureCode = 2, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** What the operating system calls a failure, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: 'this user may not access it',
    EPERM: 'this user may not access it',
    EISDIR: 'it is a folder',
    ENOSPC: 'the disk is full',
    EROFS: 'the disk is read-only',
    ECONNREFUSED: 'connection refused',
    ECONNRESET: 'the connection was reset',
    ENOTFOUND: 'no such host',
    EAI_AGAIN: 'the name of the host could not be looked up',
  }
  return (code === undefined ? undefined : known[code]) ?? message
}
