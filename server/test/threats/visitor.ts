// Somebody who verifies with `affidavit verify`, and brings nothing, the key, what the last visit left, or witnesses.
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Told, verified } from '../../../cli/test/command-line.ts'
import { type Deployment, TENANT } from './deployment.ts'
import type { Brought, Threat } from './table.ts'

export interface Place {
  readonly url: string
  /** API key. */
  readonly key: string
}

export class Visitor {
  readonly vkey: string
  readonly #folder: string
  readonly #witnesses: readonly string[]
  #copies = 0

  private constructor(vkey: string, folder: string, witnesses: readonly string[]) {
    this.vkey = vkey
    this.#folder = folder
    this.#witnesses = witnesses
  }

  /** Knows the key and the witnesses from the contract. */
  static async of(deployment: Deployment): Promise<Visitor> {
    const witnesses = deployment.witnesses.flatMap(({ vkey }) => ['--witness', vkey])
    return new Visitor(await deployment.vkey(), deployment.folder, witnesses)
  }

  /** Where what was kept lies. */
  get state(): string {
    return join(this.#folder, 'state.json')
  }

  ask(place: Place, ...more: string[]): Promise<Told> {
    return verified([place.url, '--tenant', TENANT, '--key', place.key, ...more])
  }

  /** Verifies with everything and keeps the state for later. @throws unless all holds */
  async keep(place: Place): Promise<void> {
    const told = await this.ask(place, '--vkey', this.vkey, ...this.#witnesses, '--state', this.state)
    if (told.outcome !== 'held') throw new Error(`the honest log does not hold: ${JSON.stringify(told.findings)}`)
  }

  /** @param brought as in the table; what is kept stays as it was */
  async visit(place: Place, brought: Exclude<Brought, 'also'>, ...more: string[]): Promise<Told> {
    const vkey = ['--vkey', this.vkey]
    if (brought === 'nothing') return this.ask(place, ...more)
    if (brought === 'vkey') return this.ask(place, ...vkey, ...more)
    if (brought === 'witnesses') return this.ask(place, ...vkey, ...this.#witnesses, ...more)
    const copy = `${this.state}.${this.#copies++}`
    await copyFile(this.state, copy)
    return this.ask(place, '--state', copy, ...more)
  }

  /** Puts the four columns to the test. */
  async judge(threat: Threat, place: Place, { seq, more = [] }: { seq?: number; more?: string[] } = {}): Promise<void> {
    for (const brought of ['nothing', 'vkey', 'state', 'witnesses'] as const)
      threat.judge(brought, await this.visit(place, brought, ...more), seq)
  }
}
