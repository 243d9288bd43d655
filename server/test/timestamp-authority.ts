// A real RFC 3161 authority for tests: `openssl ts` behind HTTP, with a root of its own and certificates that are right
// and wrong for the purpose.
import { execFile, spawnSync } from 'node:child_process'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as asn1js from 'asn1js'
import * as pkijs from 'pkijs'

const run = promisify(execFile)
export const hasOpenssl = spawnSync('openssl', ['version']).status === 0
if (!hasOpenssl) console.warn('Skipped: tests of timestamps, because openssl is missing')

/** Who signs: the authority, or somebody else whom the same root certified. */
export type Signer = 'tsa' | 'server'

export interface TimestampAuthority {
  readonly url: string
  /** PEM text of the root. */
  readonly ca: string
  readonly folder: string
  /** Changes what it answers with; undefined answers properly. */
  tamper: ((reply: Buffer) => Buffer) | undefined
  reply(query: Uint8Array): Promise<Buffer>
  /** What a dishonest holder of a certificate can make of a genuine reply. */
  resign(reply: Uint8Array, signer: Signer, isNamed: boolean): Promise<Buffer>
  stop(): Promise<void>
}

const extensions: Record<Signer, string> = {
  tsa: 'extendedKeyUsage=critical,timeStamping',
  server: 'extendedKeyUsage=serverAuth',
}

export interface AuthorityKind {
  /** Of root and signer. */
  readonly keys?: 'P-256' | 'P-384' | 'rsa'
  readonly digest?: 'sha256' | 'sha384' | 'sha512'
  /** An authority between the root and the signer; tokens carry its certificate. Without, they carry the root's. */
  readonly hasIntermediate?: boolean
}

export async function startTimestampAuthority(kind: AuthorityKind = {}): Promise<TimestampAuthority> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-tsa-'))
  const at = (name: string) => join(folder, name)
  await makeCertificates(folder, kind)
  await writeFile(at('tsa.cnf'), configuration(folder, kind.digest ?? 'sha256'))
  await writeFile(at('serial'), '01\n')
  let turn: Promise<unknown> = Promise.resolve()
  const authority: Omit<TimestampAuthority, 'url'> = {
    ca: await readFile(at('ca.crt'), 'utf8'),
    folder,
    tamper: undefined,
    // openssl counts its serial numbers in a file, without a lock
    reply: (query) => {
      const reply = turn.then(() => sign(folder, query))
      turn = reply.catch(() => {})
      return reply
    },
    resign: (reply, signer, isNamed) => resign(folder, reply, signer, isNamed),
    stop: async () => {},
  }
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', async () => {
      if (request.headers['content-type'] !== 'application/timestamp-query') return void response.writeHead(415).end()
      const reply = await authority.reply(Buffer.concat(parts))
      response.writeHead(200, { 'content-type': 'application/timestamp-reply' })
      response.end(authority.tamper === undefined ? reply : authority.tamper(reply))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(authority, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/tsa`,
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await rm(folder, { recursive: true, force: true })
    },
  })
}

async function makeCertificates(folder: string, { keys = 'P-256', hasIntermediate = false }: AuthorityKind) {
  const at = (name: string) => join(folder, name)
  const key =
    keys === 'rsa'
      ? ['-newkey', 'rsa:2048', '-nodes']
      : ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${keys}`, '-nodes']
  const root = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']
  const files = ['-keyout', at('ca.key'), '-out', at('ca.crt')]
  await run('openssl', ['req', '-x509', ...key, ...files, '-days', '3650', '-subj', '/O=Test/CN=Test Root', ...root])
  let serial = 2
  const certify = async (name: string, issuer: string, usage: string) => {
    const request = ['-keyout', at(`${name}.key`), '-out', at(`${name}.csr`), '-subj', `/O=Test/CN=Test ${name}`]
    await run('openssl', ['req', ...key, ...request])
    await writeFile(at(`${name}.ext`), `${usage}\n`)
    const by = ['-CA', at(`${issuer}.crt`), '-CAkey', at(`${issuer}.key`), '-set_serial', String(serial++)]
    const to = ['-extfile', at(`${name}.ext`), '-out', at(`${name}.crt`)]
    await run('openssl', ['x509', '-req', '-in', at(`${name}.csr`), ...by, '-days', '3650', ...to])
  }
  if (hasIntermediate) await certify('between', 'ca', 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign')
  const usage = 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
  for (const name of ['tsa', 'server'] as const)
    await certify(name, hasIntermediate ? 'between' : 'ca', usage + extensions[name])
  await copyFile(at(hasIntermediate ? 'between.crt' : 'ca.crt'), at('carried.crt'))
}

const configuration = (folder: string, digest: string) => `[tsa]
default_tsa = t
[t]
serial = ${folder}/serial
signer_cert = ${folder}/tsa.crt
certs = ${folder}/carried.crt
signer_key = ${folder}/tsa.key
signer_digest = ${digest}
default_policy = 1.3.6.1.4.1.32473.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
`

async function sign(folder: string, query: Uint8Array): Promise<Buffer> {
  await writeFile(join(folder, 'query'), query)
  const config = join(folder, 'tsa.cnf')
  const files = ['-queryfile', join(folder, 'query'), '-out', join(folder, 'reply')]
  await run('openssl', ['ts', '-reply', '-config', config, ...files])
  return readFile(join(folder, 'reply'))
}

/**
 * The statement of a genuine reply, signed anew, as a whole reply.
 * @param isNamed whether the signature names its certificate (ESSCertID)
 */
async function resign(folder: string, reply: Uint8Array, signer: Signer, isNamed: boolean): Promise<Buffer> {
  const response = pkijs.TimeStampResp.fromBER(new Uint8Array(reply).buffer)
  const signed = new pkijs.SignedData({ schema: response.timeStampToken!.content })
  await writeFile(join(folder, 'info'), Buffer.from(signed.encapContentInfo.eContent!.getValue()))
  const what = ['-binary', '-nodetach', '-in', join(folder, 'info'), '-econtent_type', '1.2.840.113549.1.9.16.1.4']
  const who = ['-signer', join(folder, `${signer}.crt`), '-inkey', join(folder, `${signer}.key`), '-md', 'sha256']
  const out = ['-outform', 'DER', '-out', join(folder, 'token'), ...(isNamed ? ['-cades'] : [])]
  await run('openssl', ['cms', '-sign', ...what, ...who, ...out])
  const token = asn1js.fromBER(new Uint8Array(await readFile(join(folder, 'token'))).buffer).result
  const status = new asn1js.Sequence({ value: [new asn1js.Integer({ value: 0 })] })
  return Buffer.from(new asn1js.Sequence({ value: [status, token as asn1js.Sequence] }).toBER())
}
