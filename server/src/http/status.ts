// Health, readiness and metrics.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client'
import Type from 'typebox'
import type { Operation } from './operation.ts'
import { object } from './schemas.ts'

export interface Readiness {
  readonly ready: boolean
  /** One line for each thing that stands in the way. */
  readonly waitingFor: readonly string[]
}

export interface Gauges {
  readonly waitingEvents: () => number
  readonly waitingBytes: () => number
  readonly stoppedLanes: () => number
  readonly scrub: () => Promise<{ checked: number; openFindings: number; stoppedTrails: number }>
  /** Events sealed but not yet under a checkpoint. */
  readonly unnotarizedEvents: () => Promise<number>
}

export class Metrics {
  readonly registry = new Registry()
  readonly #requests = new Counter({
    name: 'affidavit_http_requests_total',
    help: 'Requests answered',
    labelNames: ['operation', 'status'],
    registers: [this.registry],
  })
  readonly #seconds = new Histogram({
    name: 'affidavit_http_request_seconds',
    help: 'Time from request to answer',
    labelNames: ['operation'],
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [this.registry],
  })
  readonly #sealed = new Counter({
    name: 'affidavit_events_sealed_total',
    help: 'Entries made durable',
    registers: [this.registry],
  })

  constructor(gauges: Gauges) {
    // How late timers are is asked 20 times a second; the default of 100 keeps an idle server from resting.
    collectDefaultMetrics({ register: this.registry, prefix: 'affidavit_', eventLoopMonitoringPrecision: 50 })
    this.#gauge('affidavit_seal_waiting_events', 'Events that wait in lanes', gauges.waitingEvents)
    this.#gauge('affidavit_seal_waiting_bytes', 'Bytes that wait in lanes', gauges.waitingBytes)
    this.#gauge('affidavit_seal_stopped_lanes', 'Lanes that stopped and need the operator', gauges.stoppedLanes)
    const ofScrub = (name: string, help: string, pick: (status: Awaited<ReturnType<Gauges['scrub']>>) => number) =>
      this.#gauge(name, help, async () => pick(await gauges.scrub()))
    ofScrub('affidavit_scrub_checked_events', 'Entries that the scrub read in this round', (scrub) => scrub.checked)
    ofScrub('affidavit_scrub_open_findings', 'Findings of the scrub to be acknowledged', (scrub) => scrub.openFindings)
    ofScrub('affidavit_seal_stopped_trails', 'Trails stopped by findings of the scrub', (scrub) => scrub.stoppedTrails)
    this.#gauge('affidavit_notary_lag_events', 'Events sealed but not yet under a checkpoint', gauges.unnotarizedEvents)
  }

  answered(operation: string, status: number, seconds: number): void {
    this.#requests.inc({ operation, status: String(status) })
    this.#seconds.observe({ operation }, seconds)
  }

  sealed(events: number): void {
    this.#sealed.inc(events)
  }

  #gauge(name: string, help: string, read: () => number | Promise<number>): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      async collect() {
        this.set(await read())
      },
    })
  }
}

const Health = object({ status: Type.String() })
const Ready = object({ status: Type.String(), waiting_for: Type.Array(Type.String()) })

export function statusOperations(metrics: Metrics, readiness: () => Promise<Readiness>): Operation[] {
  return [
    {
      method: 'GET',
      path: '/healthz',
      operationId: 'health',
      tag: 'Status',
      summary: 'Whether the process lives',
      scope: null,
      responses: { 200: { description: 'It does', content: { 'application/json': Health } } },
      problems: [],
      handle: async () => ({ status: 200, body: { status: 'ok' } }),
    },
    {
      method: 'GET',
      path: '/readyz',
      operationId: 'readiness',
      tag: 'Status',
      summary: 'Whether events can be sealed',
      scope: null,
      responses: {
        200: { description: 'They can', content: { 'application/json': Ready } },
        503: { description: 'They cannot at the moment', content: { 'application/json': Ready } },
      },
      problems: [],
      handle: async () => {
        const { ready, waitingFor } = await readiness()
        return { status: ready ? 200 : 503, body: { status: ready ? 'ready' : 'not ready', waiting_for: waitingFor } }
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      operationId: 'metrics',
      tag: 'Status',
      summary: 'Metrics for Prometheus',
      scope: null,
      responses: { 200: { description: 'Prometheus text format', content: { 'text/plain': Type.String() } } },
      problems: [],
      handle: async () => ({ status: 200, body: await metrics.registry.metrics(), type: metrics.registry.contentType }),
    },
  ]
}
