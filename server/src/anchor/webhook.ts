// A webhook of the customer's: each checkpoint is posted, signed by Standard Webhooks (standardwebhooks.com), so that the
// receiver can tell it from anybody else's post.
import { createHash, createHmac } from 'node:crypto'
import type { Outbound } from './outbound.ts'
import type { Document, Place, Placed } from './place.ts'
import type { AnchorSettings } from './settings.ts'

type WebhookSettings = Extract<AnchorSettings, { kind: 'webhook' }>

export class WebhookPlace implements Place {
  readonly name: string
  readonly kind = 'webhook'
  readonly every_ms: number
  readonly isPublic = false
  readonly #settings: WebhookSettings
  readonly #secret: Buffer
  readonly #outbound: Outbound

  /** @throws Error when the secret is none */
  constructor(settings: WebhookSettings, outbound: Outbound) {
    this.name = settings.name
    this.every_ms = settings.every_ms
    this.#settings = settings
    this.#secret = readSecret(settings.secret)
    this.#outbound = outbound
  }

  async place(document: Document): Promise<Placed> {
    const { url, allow_private_addresses = false } = this.#settings
    const { origin, epoch, size, root, at_ms, note } = document
    // The same for every try, so that the receiver can tell a repeat.
    const id = `msg_${createHash('sha256').update(`${this.name}\n${origin}\n${size}\n${root}`).digest('hex').slice(0, 32)}`
    const time = Math.floor(Date.now() / 1000)
    const body = JSON.stringify({
      type: 'registry.checkpoint',
      timestamp: new Date(at_ms).toISOString(),
      data: { origin, epoch, size, root, checkpoint: note },
    })
    const { status } = await this.#outbound.post({
      url,
      body,
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(time),
        'webhook-signature': signature(this.#secret, id, time, body),
      },
      timeout_ms: 15_000,
      limit: 64 * 1024,
      publicOnly: !allow_private_addresses,
    })
    if (status < 200 || status > 299) throw new Error(`the webhook answers ${status}`)
    return {}
  }

  close(): void {}
}

/** `whsec_` and base64 of 24 to 64 bytes. */
function readSecret(text: string): Buffer {
  const key = Buffer.from(text.replace(/^whsec_/, ''), 'base64')
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(text) || key.length < 24 || key.length > 64)
    throw new Error('secret must be whsec_ and base64 of 24 to 64 bytes')
  return key
}

function signature(secret: Buffer, id: string, time: number, body: string): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${time}.${body}`).digest('base64')}`
}
