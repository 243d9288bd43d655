/**
 * What a browser brings for this package: Ed25519 through WebCrypto (also in Node ≥ 20), and a synchronous SHA-256
 * (FIPS 180-4) in plain TypeScript, because WebCrypto's is asynchronous only. In Node, inject node:crypto's instead.
 */

import type { Hash, VerifySignature } from './hash.ts'
import type { CertificateCrypto } from './timestamp/certificate.ts'

/** Ed25519 through `globalThis.crypto.subtle`. */
export const verifyEd25519: VerifySignature = async (publicKey, message, signature) => {
  try {
    const key = await crypto.subtle.importKey('raw', new Uint8Array(publicKey), 'Ed25519', false, ['verify'])
    return await crypto.subtle.verify('Ed25519', key, new Uint8Array(signature), new Uint8Array(message))
  } catch {
    return false
  }
}

/** RSA (PKCS #1 v1.5), ECDSA and their hashes through `globalThis.crypto.subtle`, for certificates and timestamps. */
export const webCertificateCrypto: CertificateCrypto = {
  digest: async (hash, data) => new Uint8Array(await crypto.subtle.digest(hash, new Uint8Array(data))),
  verify: async (key, spki, hash, message, signature) => {
    const algorithm =
      key.kind === 'rsa' ? { name: 'RSASSA-PKCS1-v1_5', hash } : { name: 'ECDSA', namedCurve: key.curve, hash }
    try {
      const imported = await crypto.subtle.importKey('spki', new Uint8Array(spki), algorithm, false, ['verify'])
      return await crypto.subtle.verify(algorithm, imported, new Uint8Array(signature), new Uint8Array(message))
    } catch {
      return false
    }
  },
}

const { roundConstants, initialState } = fractionalRoots()

/** FIPS 180-4 §4.2.2, §5.3.3: fractional parts of the cube and square roots of the first primes. */
function fractionalRoots(): { roundConstants: Int32Array; initialState: Int32Array } {
  const primes: number[] = []
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n)
  const fraction = (value: number) => ((value - Math.floor(value)) * 2 ** 32) | 0
  return {
    roundConstants: Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime))),
    initialState: Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime))),
  }
}

/** Used by one call at a time, and by each: a verifier hashes millions of short texts. */
const state = new Int32Array(8)
const schedule = new Int32Array(64)
const tail = new Uint8Array(128)
const tailView = new DataView(tail.buffer)

/** SHA-256 in plain TypeScript. */
export const sha256: Hash = (data) => {
  state.set(initialState)
  const full = data.length - (data.length % 64)
  for (let at = 0; at < full; at += 64) compress(state, schedule, data, at)
  const rest = data.length - full
  const end = rest < 56 ? 64 : 128
  tail.fill(0, rest, end)
  for (let i = 0; i < rest; i++) tail[i] = data[full + i]!
  tail[rest] = 0x80
  tailView.setUint32(end - 8, Math.floor(data.length / 2 ** 29))
  tailView.setUint32(end - 4, (data.length * 8) >>> 0)
  for (let at = 0; at < end; at += 64) compress(state, schedule, tail, at)
  const digest = new Uint8Array(32)
  for (let i = 0; i < 32; i++) digest[i] = state[i >> 2]! >>> (24 - 8 * (i & 3))
  return digest
}

function compress(state: Int32Array, w: Int32Array, data: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++) {
    const p = at + i * 4
    w[i] = (data[p]! << 24) | (data[p + 1]! << 16) | (data[p + 2]! << 8) | data[p + 3]!
  }
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15]!
    const y = w[i - 2]!
    const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3)
    const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10)
    w[i] = (w[i - 16]! + s0 + w[i - 7]! + s1) | 0
  }
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  let d = state[3]!
  let e = state[4]!
  let f = state[5]!
  let g = state[6]!
  let h = state[7]!
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + roundConstants[i]! + w[i]!) | 0
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  state[0] = state[0]! + a
  state[1] = state[1]! + b
  state[2] = state[2]! + c
  state[3] = state[3]! + d
  state[4] = state[4]! + e
  state[5] = state[5]! + f
  state[6] = state[6]! + g
  state[7] = state[7]! + h
}

function rotate(x: number, by: number): number {
  return (x >>> by) | (x << (32 - by))
}
