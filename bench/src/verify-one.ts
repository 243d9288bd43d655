// One pack verified again and again in a process of its own, as `affidavit verify` would: what another program did before
// in the same process, such as making the pack, must not be part of the result.
//   node bench/src/verify-one.ts <pack> <vkey> <entries> <runs>     prints the runs as JSON
import { parseVkey, verifyEd25519, verifyPack } from '@affidavit/trail'
import { withPack } from 'affidavit/src/verify/file/pack-file.ts'
import { keepYoungHeapSmall } from 'affidavit/src/verify/file/young-heap.ts'
import { nodeSha256 } from 'affidavit/src/verify/node-hash.ts'
import { measure } from './verify-cost.ts'

const [path, vkey, entries, runs] = process.argv.slice(2) as [string, string, string, string]
const vkeys = [parseVkey(nodeSha256, vkey)]
keepYoungHeapSmall()
const costs = await measure(Number(runs), Number(entries), async () => {
  const { outcome, findings } = await withPack(path, (pack) =>
    verifyPack(pack, { hash: nodeSha256, verify: verifyEd25519, vkeys }),
  )
  if (outcome !== 'held') throw new Error(`the pack does not hold: ${JSON.stringify(findings[0])}`)
})
console.log(JSON.stringify(costs))
