/**
 * English verbs as they occur in action names, with their past forms: what turns `invoice.archived`,
 * `archive_invoice` and `invoice.archive` into the same sentence.
 */

const regular = `abort accept access acknowledge activate add adjust allow amend anonymize append apply approve archive
assign associate assume attach attempt audit authenticate authorize back backup block bookmark broadcast browse calculate
call cancel capture change charge check claim clean clear click clone close collect comment compare complete configure
confirm connect consume contact convert copy create credit deactivate deauthorize debit decline decrypt delegate delete
delist deliver demote deploy deprecate describe destroy detach detect disable disassociate disconnect discard dismiss
dispatch disapprove download downgrade duplicate edit elevate email embed enable encrypt end endorse enforce enroll
enter erase escalate evaluate exclude execute exempt expire explain export extend extract favorite fetch file filter
finalize finish fix follow force forward generate handle hide ignore impersonate import include index install
instantiate invalidate invite invoke invoice issue join label launch like link list load lock mark match
mask merge migrate mint modify monitor mount move mute notarize notify open order override own park patch pause perform
place post preview print process promote propose protect provision publish pull purchase purge push query queue
quarantine raise rank reactivate rebase reboot recall receive recharge recommend reconcile reconnect record recover
redact redeem redirect refresh refund regenerate register reject release reload remove rename render renew reopen
reorder repair replace reply report request require reschedule resend resolve respond restart restore restrict resume
retire retract retrieve retry return reverse review revise revoke rotate sample save schedule score seal search secure
select serve share sign simulate snapshot snooze solve sort star start store stream subscribe suggest suspend sync
synchronize terminate test track train transform translate trash trigger trust turn unarchive unassign unblock
unfollow unhide uninstall unlink unlock unmute unpublish unregister unshare unsubscribe unsuspend update upgrade upload
use validate verify view void vote waive warn watch whitelist`

/** base past, for verbs that are irregular or double a consonant. */
const irregular = `admit admitted|ban banned|bind bound|build built|buy bought|cap capped|choose chose|commit committed|
control controlled|cut cut|defer deferred|do did|draw drew|drop dropped|find found|flag flagged|forget forgot|
freeze froze|get retrieved|give gave|grant granted|handover handed over|hold held|keep kept|label labelled|leave left|
let let|log logged|lose lost|make made|map mapped|opt opted|overwrite overwrote|pay paid|permit
permitted|pin pinned|plan planned|put put|read read|rebuild rebuilt|redo redid|rerun reran|reset reset|resell resold|
run ran|scan scanned|see saw|sell sold|send sent|set set|ship shipped|shut shut|skip skipped|split split|stop stopped|
submit submitted|swap swapped|tag tagged|take took|tell told|transfer transferred|trim trimmed|unban unbanned|undo
undid|unfreeze unfroze|unpin unpinned|untag untagged|unwrap unwrapped|withdraw withdrew|wrap wrapped|write wrote|
deny denied|copy copied|unset unset|cancel cancelled|rewrite rewrote|bring brought|head checked|deregister deregistered`

/** Deeds that say all by themselves: whose login it was is the actor. */
const alone: Record<string, { past: string; base: string }> = {
  login: { past: 'signed in', base: 'sign in' },
  logon: { past: 'signed in', base: 'sign in' },
  signin: { past: 'signed in', base: 'sign in' },
  logout: { past: 'signed out', base: 'sign out' },
  logoff: { past: 'signed out', base: 'sign out' },
  signout: { past: 'signed out', base: 'sign out' },
  signup: { past: 'signed up', base: 'sign up' },
}

/** Words that are as often the thing as the deed: another verb beside them is the deed. */
const nouns = new Set(
  `access audit back backup block bookmark call capture change charge check claim close comment contact copy credit
   debit delegate document embed export favorite file filter fix follow force handle index invoice issue join label
   launch like link list load lock log map mask match monitor mount move order override own park patch pause pin place
   plan post preview print process project purchase push query queue rank reply report request review run sample save
   scan schedule score search seal set share sign snapshot star start stop store stream tag test track transfer trash
   trigger trust update upgrade upload use view vote watch`.split(/\s+/),
)

/** Participles, spellings and nouns that stand for a verb. */
const synonyms: Record<string, string> = {
  bound: 'bind',
  canceled: 'cancel',
  cancellation: 'cancel',
  chosen: 'choose',
  creation: 'create',
  deletion: 'delete',
  done: 'do',
  drawn: 'draw',
  forgotten: 'forget',
  frozen: 'freeze',
  given: 'give',
  got: 'get',
  labeled: 'label',
  modification: 'modify',
  overwritten: 'overwrite',
  registration: 'register',
  removal: 'remove',
  rewritten: 'rewrite',
  seen: 'see',
  taken: 'take',
  undone: 'undo',
  unfrozen: 'unfreeze',
  withdrawn: 'withdraw',
  written: 'write',
}

const pastOfBase = new Map<string, string>()
const baseOfForm = new Map<string, string>()

for (const base of regular.split(/\s+/)) note(base, regularPast(base))
for (const pair of irregular.replace(/\s+/g, ' ').split('|')) {
  const [base, ...past] = pair.trim().split(' ')
  note(base!, past.join(' '))
}
for (const [form, base] of Object.entries(synonyms)) baseOfForm.set(form, base)

function note(base: string, past: string): void {
  pastOfBase.set(base, past)
  baseOfForm.set(base, base)
  baseOfForm.set(past, base)
  baseOfForm.set(/(?:[sxz]|[cs]h)$/.test(base) ? `${base}es` : base.replace(/([^aeiou])y$/, '$1ie').concat('s'), base)
}

function regularPast(base: string): string {
  if (base.endsWith('e')) return `${base}d`
  return /[^aeiou]y$/.test(base) ? `${base.slice(0, -1)}ied` : `${base}ed`
}

/** The base form of a known verb in any form, or undefined. */
export function baseOf(word: string): string | undefined {
  return baseOfForm.get(word)
}

/** As verbOf for words like `login`, whose deed needs no object. */
export function aloneVerbOf(word: string): { past: string; base: string } | undefined {
  return Object.hasOwn(alone, word) ? alone[word] : undefined
}

/** How surely a word names a deed: 3 a past form, 2 a verb, 1 a word that may be a noun, 0 no verb. */
export function verbStrength(word: string): 0 | 1 | 2 | 3 {
  const base = baseOfForm.get(word)
  if (base === undefined) return verbOf(word) === undefined ? 0 : word.endsWith('ed') ? 3 : 2
  if (base !== word) return word === pastOfBase.get(base) || synonyms[word] !== undefined ? 3 : 1
  return nouns.has(word) ? 1 : 2
}

/**
 * Past and base form of a word that names the deed of an action. Words outside the list count as verbs when they are
 * built like one (-ed, -ate, -ize, -ify); undefined otherwise.
 */
export function verbOf(word: string): { past: string; base: string } | undefined {
  const base = baseOfForm.get(word)
  if (base !== undefined) return { past: pastOfBase.get(base)!, base: base === 'get' ? 'retrieve' : base }
  if (/^[a-z]{2,}ied$/.test(word)) return { past: word, base: `${word.slice(0, -3)}y` }
  if (/^[a-z]{2,}(?:at|iz|is|ag|ut|ov|ur|c|s|v)ed$/.test(word)) return { past: word, base: word.slice(0, -1) }
  if (/^[a-z]+[^e]ed$/.test(word) && word.length > 4) return { past: word, base: word.slice(0, -2) }
  if (/^[a-z]{2,}(?:ate|ize|ise|ify)$/.test(word)) return { past: regularPast(word), base: word }
  return undefined
}
