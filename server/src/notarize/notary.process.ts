// Runs a notary without rest until it is killed: the victim of kill.test.ts.
import { openDatabase } from '../store/database.ts'
import { silent } from '../store/log.ts'
import { testLogKey, testLogName } from './fixture.ts'
import { Notary } from './notary.ts'

const store = openDatabase({ login: process.argv[2]!, log: silent })
const notary = new Notary({ store, log: silent, logKey: testLogKey, logName: testLogName, batch: 500 })
for (;;) {
  const { events } = await notary.round()
  if (events === 0) await new Promise((resolve) => setTimeout(resolve, 5))
}
