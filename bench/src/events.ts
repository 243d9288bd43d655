// The events that every benchmark sends: 540 bytes each as JSON, tenants by Zipf's law, people mostly known. Seeded, so
// that two runs send the same.

export interface Mix {
  readonly tenants: number
  /** Exponent of Zipf's law; Infinity sends everything to the first tenant. */
  readonly zipf: number
  /** Share of events that go to the first tenant instead. */
  readonly favourite: number
  /** People per tenant. */
  readonly people: number
  /** Share of events whose person has a persona that was seen before. */
  readonly known: number
  readonly seed: number
}

export const zipfMix: Mix = { tenants: 1_000, zipf: 1.1, favourite: 0, people: 40, known: 0.95, seed: 1 }
export const favouriteMix: Mix = { ...zipfMix, favourite: 0.9 }
export const freshMix: Mix = { ...zipfMix, known: 0 }

/** A small fast generator (mulberry32): reproducible, not secret. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export const actions = [
  'user.login',
  'user.login',
  'user.login',
  'user.logout',
  'document.viewed',
  'document.viewed',
  'document.viewed',
  'document.updated',
  'document.shared',
  'invoice.downloaded',
  'user.role.updated',
  'user.permission.granted',
  'user.permission.revoked',
  'api_key.created',
  'report.exported',
  'project.created',
  'project.deleted',
  'member.invited',
  'settings.updated',
  'payment.succeeded',
]
const agents = [
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/126.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36',
]
const names = [
  'Sarah Johnson',
  'Mark Chen',
  'Amina Yusuf',
  'Diego Torres',
  'Ines Weber',
  'Kenji Sato',
  'Olga Ivanova',
  'Tom Baker',
]

export class EventSource {
  readonly #mix: Mix
  readonly #random: () => number
  readonly #cumulative: Float64Array
  #count = 0

  constructor(mix: Mix) {
    this.#mix = mix
    this.#random = random(mix.seed)
    this.#cumulative = new Float64Array(mix.tenants)
    let sum = 0
    for (let i = 0; i < mix.tenants; i++) {
      sum += 1 / (i + 1) ** mix.zipf
      this.#cumulative[i] = sum
    }
    for (let i = 0; i < mix.tenants; i++) this.#cumulative[i]! /= sum
  }

  #tenant(): number {
    if (this.#mix.favourite > 0 && this.#random() < this.#mix.favourite) return 0
    const at = this.#random()
    let low = 0
    let high = this.#mix.tenants - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#cumulative[middle]! < at) low = middle + 1
      else high = middle
    }
    return low
  }

  /** One event, structured, with an id; about 540 bytes as JSON. */
  next(occurredMs: number): object {
    const tenant = this.#tenant()
    const person = Math.floor(this.#random() * this.#random() * this.#mix.people)
    return this.of(tenant, person, occurredMs, this.#random() >= this.#mix.known)
  }

  /** An event of one person; a fresh one comes from an address where that person was never seen. */
  of(tenant: number, person: number, occurredMs: number, fresh = false): object {
    const r = this.#random
    const n = this.#count++
    const action = actions[Math.floor(r() * actions.length)]!
    const host = fresh ? `${n & 255}.${(n >> 8) & 255}` : `${person & 255}.${tenant & 255}`
    return {
      id: `bench-${this.#mix.seed}-${n.toString(36)}`,
      tenant: `tenant_${tenant}`,
      action,
      occurred_at: new Date(occurredMs).toISOString(),
      actor: {
        type: 'user',
        id: `user_${person}`,
        name: names[person % names.length],
        email: `user${person}@tenant${tenant}.example.com`,
        role: 'member',
      },
      targets: [{ type: 'document', id: `doc_${Math.floor(r() * 5_000)}`, name: 'Quarterly plan' }],
      outcome: r() < 0.97 ? 'success' : 'failure',
      context: {
        ip: `10.${fresh ? (n >> 16) & 255 : 7}.${host}`,
        user_agent: agents[person & 1],
        request_id: `req_${n.toString(36)}${Math.floor(r() * 1e6)}`,
      },
      metadata: { source: 'web', plan: 'enterprise', region: 'eu-west-1', duration_ms: Math.floor(r() * 900) },
    }
  }

  /** An NDJSON batch of `size` events. */
  batch(size: number, occurredMs: number): Buffer {
    const lines = new Array<string>(size)
    for (let i = 0; i < size; i++) lines[i] = JSON.stringify(this.next(occurredMs))
    return Buffer.from(`${lines.join('\n')}\n`)
  }
}
