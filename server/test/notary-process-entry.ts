// One round of a notary in a process of its own that is killed, as by the kernel, at its n-th step: before a statement is
// sent, before a transaction commits, after it did.
//   node notary-process-entry.ts LOGIN N      prints how many steps the round has if it comes to its end
import { testLogKey, testLogName } from '../src/notarize/fixture.ts'
import { Notary } from '../src/notarize/notary.ts'
import { type Database, openDatabase, type Pool, type Queryable } from '../src/store/database.ts'
import { silent } from '../src/store/log.ts'

const [login, last] = process.argv.slice(2) as [string, string]
let steps = 0
function step(): void {
  steps++
  if (steps === Number(last)) process.kill(process.pid, 'SIGKILL')
}

function mortal(real: Queryable): Queryable['query'] {
  return (query, values) => {
    step()
    return real.query(query, values)
  }
}

const database = openDatabase({ login, log: silent })
const pool = database.pool('notary')
const steppedPool: Pool = {
  role: pool.role,
  query: mortal(pool),
  value: (statement, values) => pool.value(statement, values),
  transaction: async (work) => {
    const result = await pool.transaction(async (session) => {
      const done = await work({ query: mortal(session) })
      step()
      return done
    })
    step()
    return result
  },
  asTenant: (tenant, work) => pool.asTenant(tenant, work),
}
const store: Database = {
  pool: () => steppedPool,
  dedicated: (role) => database.dedicated(role),
  end: () => database.end(),
}
const notary = new Notary({ store, log: silent, logKey: testLogKey, logName: testLogName })
await notary.round()
console.log(steps)
process.exit(0)
