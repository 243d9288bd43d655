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

const TRUST_IT = 'NODE_EXTRA_CA_CERTS=FILE makes it known'

/** What the operating system or the connection calls a failure, in words. */
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
    EHOSTUNREACH: 'there is no way to that host',
    ENETUNREACH: 'there is no way to that network',
    ETIMEDOUT: 'it did not answer in time',
    UND_ERR_CONNECT_TIMEOUT: 'it did not answer in time',
    ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS there; its address may begin with http://',
    ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
    CERT_HAS_EXPIRED: 'its certificate has expired',
    DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate is signed by itself; ${TRUST_IT}`,
    SELF_SIGNED_CERT_IN_CHAIN: `its certificate is of an authority that is not known here; ${TRUST_IT}`,
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: `its certificate is of an authority that is not known here; ${TRUST_IT}`,
  }
  return (code === undefined ? undefined : known[code]) ?? message
}
