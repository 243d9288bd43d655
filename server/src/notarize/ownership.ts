// Which shards this notary visits when several processes share a database. Session advisory locks spread the shards
// evenly and save work; correctness comes from the cursor alone, so nothing breaks when two believe they own a shard.
//
//   (class, shard)      held by the owner of the shard
//   (class, presence)   held, shared, by every notary: their number gives the fair share
//
// The locks go with the session: when a process dies, its shards are free at the next balance of the others.
import type pg from 'pg'

/** First key of the two-key advisory locks; any constant does. */
const lock_class = 4_100_002
const presence = 1_000
const balance_every_ms = 2_000
/** A shard whose owner leaves work lying for this long is visited by everyone. */
const abandoned_after_ms = 15_000

export class Ownership {
  readonly #session: pg.Client
  readonly #shards: readonly number[]
  readonly #owned = new Set<number>()
  readonly #stuck = new Map<number, { position: number; since_ms: number }>()
  #balanced_ms = Number.NEGATIVE_INFINITY

  private constructor(session: pg.Client, shards: readonly number[]) {
    this.#session = session
    this.#shards = shards
  }

  /** @param session a connection of its own; ending it gives up every shard */
  static async join(session: pg.Client, shards: readonly number[]): Promise<Ownership> {
    await session.query('select pg_advisory_lock_shared($1, $2)', [lock_class, presence])
    return new Ownership(session, shards)
  }

  get owned(): ReadonlySet<number> {
    return this.#owned
  }

  /** Takes free shards up to the fair share, or gives up what is beyond it; asks the database at most every 2 s. */
  async balance(now_ms: number): Promise<void> {
    if (now_ms - this.#balanced_ms < balance_every_ms) return
    this.#balanced_ms = now_ms
    const share = Math.ceil(this.#shards.length / (await this.#notaries()))
    for (const shard of [...this.#owned].slice(share)) {
      await this.#session.query('select pg_advisory_unlock($1, $2)', [lock_class, shard])
      this.#owned.delete(shard)
    }
    // Everyone starts elsewhere, so that two that start together seldom ask for the same shard.
    const start = Math.floor(Math.random() * this.#shards.length)
    for (const shard of [...this.#shards.slice(start), ...this.#shards.slice(0, start)]) {
      if (this.#owned.size >= share) return
      if (!this.#owned.has(shard) && (await this.#take(shard))) this.#owned.add(shard)
    }
  }

  /** Whether to visit a shard that has work: it is ours, or its owner has left it lying. */
  mayVisit(shard: number, position: number, now_ms: number): boolean {
    if (this.#owned.has(shard)) return true
    const seen = this.#stuck.get(shard)
    if (seen?.position !== position) this.#stuck.set(shard, { position, since_ms: now_ms })
    return seen?.position === position && now_ms - seen.since_ms >= abandoned_after_ms
  }

  async #take(shard: number): Promise<boolean> {
    const { rows } = await this.#session.query<{ taken: boolean }>('select pg_try_advisory_lock($1, $2) as taken', [
      lock_class,
      shard,
    ])
    return rows[0]!.taken
  }

  async #notaries(): Promise<number> {
    const { rows } = await this.#session.query<{ notaries: number }>(
      `select count(*)::int as notaries from pg_locks l join pg_database d on d.oid = l.database
        where d.datname = current_database() and l.locktype = 'advisory' and l.classid = $1 and l.objid = $2 and l.granted`,
      [lock_class, presence],
    )
    return Math.max(1, rows[0]!.notaries)
  }
}
