// Somebody who verifies with `affidavit verify`, and brings nothing, the key, what the last visit left, or witnesses.
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Told, verified } from '../../../cli/test/command-line.ts'
import { get } from '../check-trail.ts'
import { type Deployment, TENANT } from './deployment.ts'
import type { Brought, Threat } from './table.ts'

export interface Place {
  readonly url: string
  /** API key. */
  readonly key: string
}

type Column = Exclude<Brought, 'also'>

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

  async visit(place: Place, brought: Column, ...more: string[]): Promise<Told> {
    return this.ask(place, ...(await this.#options(brought)), ...more)
  }

  /** Takes a pack of the whole trail home and verifies it there. */
  async visitOffline(place: Place, brought: Column): Promise<Told> {
    const response = await get(place, `/v1/trails/${TENANT}/pack`)
    if (!response.ok) throw new Error(`there is no pack: ${response.status}`)
    const file = join(this.#folder, `${this.#copies++}.zip`)
    await writeFile(file, new Uint8Array(await response.arrayBuffer()))
    return verified([file, ...(await this.#options(brought))])
  }

  /** What is brought, as in the table; what was kept stays as it was. */
  async #options(brought: Column): Promise<string[]> {
    const vkey = ['--vkey', this.vkey]
    if (brought === 'nothing') return []
    if (brought === 'vkey') return vkey
    if (brought === 'witnesses') return [...vkey, ...this.#witnesses]
    const copy = `${this.state}.${this.#copies++}`
    await copyFile(this.state, copy)
    return ['--state', copy]
  }

  /** Puts the four columns to the test. */
  async judge(threat: Threat, place: Place, { seq, more = [] }: { seq?: number; more?: string[] } = {}): Promise<void> {
    for (const brought of ['nothing', 'vkey', 'state', 'witnesses'] as const)
      threat.judge(brought, await this.visit(place, brought, ...more), seq)
  }
}
