// A timestamp authority (RFC 3161) as a place: the checkpoint's bytes stay here, its token says when they existed.

import type { Outbound } from './outbound.ts'
import { type Document, type Place, type Placed, WrongAnswer } from './place.ts'
import type { AnchorSettings } from './settings.ts'
import { makeNonce, readCertificates, TimestampRefused, timestampRequest, verifyTimestamp } from './timestamp.ts'

type TimestampSettings = Extract<AnchorSettings, { kind: 'timestamp' }>

/** An authority's clock and ours may differ by so much. */
const skew_ms = 10 * 60_000

export class TimestampPlace implements Place {
  readonly name: string
  readonly kind = 'timestamp'
  readonly every_ms: number
  readonly isPublic = true
  readonly #url: string
  readonly #trusted: ReturnType<typeof readCertificates>
  readonly #outbound: Outbound

  /** @throws Error when the certificates cannot be read */
  constructor({ name, every_ms, url, ca }: TimestampSettings, outbound: Outbound) {
    this.name = name
    this.every_ms = every_ms
    this.#url = url
    this.#outbound = outbound
    this.#trusted = readCertificates(ca!)
  }

  async place({ note }: Document): Promise<Placed> {
    const document = Buffer.from(note)
    const nonce = makeNonce()
    const { status, type, body } = await this.#outbound.post({
      url: this.#url,
      body: timestampRequest(document, nonce),
      headers: { 'content-type': 'application/timestamp-query', accept: 'application/timestamp-reply' },
      timeout_ms: 30_000,
      limit: 128 * 1024,
    })
    if (status !== 200) throw new Error(`the authority answers ${status}`)
    if (type !== 'application/timestamp-reply') throw new WrongAnswer(`the authority answers with ${type || 'no type'}`)
    const { time, policy, serial } = await check(body, document, this.#trusted, nonce)
    if (Math.abs(time.getTime() - Date.now()) > skew_ms)
      throw new WrongAnswer(`the authority's clock shows ${time.toISOString()}`)
    return { token: body, details: { time: time.toISOString(), policy, serial } }
  }

  close(): void {}
}

async function check(...args: Parameters<typeof verifyTimestamp>): ReturnType<typeof verifyTimestamp> {
  try {
    return await verifyTimestamp(...args)
  } catch (error) {
    if (error instanceof TimestampRefused && error.code !== 'rejected') throw new WrongAnswer(error.message)
    throw error
  }
}
