// The lanes' way to the database: statements for what one lane asks by itself, and the commits that they share.
import { RowsParameter } from '../store/binary.ts'
import type { Pool } from '../store/database.ts'
import { rowType } from '../store/row-type.ts'
import { sealedRowColumns } from '../store/sealed-row.ts'
import type { DatabaseClock } from './clock.ts'
import { JointCommits } from './joint-commits.ts'
import { SealStatements } from './statements.ts'

export class SealDatabase {
  readonly statements: SealStatements
  readonly commits: JointCommits
  readonly #pool: Pool

  private constructor(pool: Pool, commits: JointCommits, statements: SealStatements) {
    this.#pool = pool
    this.commits = commits
    this.statements = statements
  }

  /**
   * @param connections commits under way at once; at most the pool's size
   * @param batchEvents about as many events go into one commit
   */
  static async open(pool: Pool, clock: DatabaseClock, connections: number, batchEvents: number): Promise<SealDatabase> {
    const type = await rowType(pool, 'affidavit.sealed_row')
    if (type.columns.join() !== sealedRowColumns.join())
      throw new Error('affidavit.sealed_row is not what this server encodes')
    const statements = new SealStatements(pool, pool)
    const encoders = Array.from({ length: connections }, () => new RowsParameter(type))
    return new SealDatabase(pool, new JointCommits(statements, clock, encoders, batchEvents), statements)
  }

  transaction<Result>(work: (statements: SealStatements) => Promise<Result>): Promise<Result> {
    return this.#pool.transaction((session) => work(new SealStatements(session)))
  }
}
