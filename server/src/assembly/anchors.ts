// Witnesses and anchors within a server: their thread, and what the door shows of them.

import { RegistryLog } from '../anchor/registry-log.ts'
import { readStates } from '../anchor/states.ts'
import { AnchorThread } from '../anchor/thread.ts'
import type { Config } from '../config.ts'
import { anchorOperations, registerAnchorMetrics } from '../http/anchors.ts'
import type { Operation } from '../http/operation.ts'
import { type OperatorStatusParts, operatorStatusOperation } from '../http/operator-status.ts'
import type { Metrics } from '../http/status.ts'
import type { Background } from '../store/background.ts'
import type { Database, Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'

const isConfigured = ({ witnessPolicy, anchors }: Config) => witnessPolicy !== undefined || anchors !== undefined

/**
 * Starts the anchors' thread where there is anything for it to do.
 * @throws AnchorsRefused with a sentence for the operator
 */
export async function startAnchors(
  config: Config,
  login: Login,
  log: Log,
  background: Background,
): Promise<{ stop(): Promise<void> }> {
  if (!isConfigured(config)) return { stop: async () => {} }
  return AnchorThread.start(
    {
      login,
      ...(config.witnessPolicy !== undefined && { policy: config.witnessPolicy }),
      ...(config.anchors !== undefined && { anchors: config.anchors }),
    },
    log,
    background,
  )
}

/** The operations and metrics of anchors, and the operator's page. */
export function openAnchors(
  config: Config,
  database: Database,
  metrics: Metrics,
  parts: Omit<OperatorStatusParts, 'anchors' | 'checkpoints'>,
): Operation[] {
  const states = async () => (isConfigured(config) ? readStates(database.pool('follower')) : [])
  const log = new RegistryLog(database.pool('follower'))
  const checkpoints = async () => {
    const [newest, cosigned] = await Promise.all([log.head(), log.cosignedHead()])
    return { newest, cosigned }
  }
  registerAnchorMetrics(metrics.registry, states)
  return [
    ...anchorOperations(database.pool('reader')),
    operatorStatusOperation({ ...parts, anchors: states, checkpoints }),
  ]
}
