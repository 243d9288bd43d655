// A witness in a process of its own that dies, as if by SIGKILL, after it made a checkpoint durable and before it answers.
//   node witness-process.ts FILE NAME LOG_VKEY      prints its address
import { startWitness } from '../src/witness/server.ts'
import { WitnessState } from '../src/witness/state.ts'

const [file, name, log] = process.argv.slice(2)
const state = await WitnessState.open(file!, name, [log!])
const { url } = await startWitness({
  state,
  host: '127.0.0.1',
  port: 0,
  log: () => {},
  onPersisted: () => void process.kill(process.pid, 'SIGKILL'),
})
console.log(url)
