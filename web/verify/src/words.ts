/** What verdicts mean, in words for somebody who has never read a specification. */
import { failsOnlyBySignature, type Verdict, type Verification } from '@affidavit/trail'

export interface Words {
  readonly title: string
  readonly held: string
  readonly failed: string
  /** Why it may be left open. */
  readonly unchecked: string
}

const open = 'It could not be checked.'

export const VERDICT_WORDS: Readonly<Record<Verdict, Words>> = {
  content: {
    title: 'Content',
    held: 'Every event says exactly what it said when it was sealed.',
    failed: 'Events say something else than when they were sealed.',
    unchecked: open,
  },
  chain: {
    title: 'Order',
    held: 'Every entry stands at its place and names the one before it.',
    failed: 'The chain of entries is broken: something was changed, moved, added or taken out.',
    unchecked: open,
  },
  inclusion: {
    title: 'Signed as a whole',
    held: 'The entries are exactly those that the checkpoint signs.',
    failed: 'The entries are not those that the checkpoint signs.',
    unchecked: open,
  },
  consistency: {
    title: 'Unchanged since',
    held: 'The log has grown from the checkpoint you kept. Nothing before it was changed.',
    failed: 'There is a second history: the log is not a continuation of what was kept elsewhere.',
    unchecked: 'You brought no earlier checkpoint to compare with.',
  },
  signature: {
    title: 'Signature',
    held: 'The checkpoint is signed, and its signature is right.',
    failed: 'The checkpoint is not signed by the key expected.',
    unchecked: open,
  },
  time: {
    title: 'Time',
    held: 'Sealing times never run backwards.',
    failed: 'Sealing times run backwards.',
    unchecked: open,
  },
  completeness: {
    title: 'Complete',
    held: 'No entry of the range is missing.',
    failed: 'Entries of the range are missing.',
    unchecked: open,
  },
  absence: {
    title: 'Removals',
    held: 'Whatever was removed was announced, and what was announced as removed is gone.',
    failed: 'Something is missing without an announcement, or still there in spite of one.',
    unchecked: open,
  },
  anchors: {
    title: 'Outside proof',
    held: 'Something that did not come from the operator of the log agrees.',
    failed: 'What you brought contradicts the pack.',
    unchecked: 'You brought nothing from outside: no key, no checkpoint, no witnesses, no timestamp authority.',
  },
}

export interface Conclusion {
  readonly tone: 'held' | 'limited' | 'failed' | 'open'
  readonly title: string
  readonly text: string
}

/** The one thing to take away. */
export function concluded(verification: Verification): Conclusion {
  const { outcome, assurance, firstWrong } = verification
  if (outcome === 'tampered') {
    if (failsOnlyBySignature(verification))
      return {
        tone: 'failed',
        title: 'This log was tampered with',
        text:
          'It agrees with itself, but it is not signed by the key that you brought. Compare that key with where it came from ' +
          'first: one of another log fails, too. If it is the right one, this is not the log that you were promised. Keep ' +
          'this file: it is the evidence.',
      }
    const where = firstWrong === undefined ? '' : ` The first wrong entry is number ${firstWrong.toLocaleString('en')}.`
    return {
      tone: 'failed',
      title: 'This log was tampered with',
      text: `What is shown is not what was sealed.${where} Keep this file: it is the evidence.`,
    }
  }
  if (outcome === 'unchecked')
    return {
      tone: 'open',
      title: 'Not everything could be checked',
      text: 'Nothing wrong was found, but a check that you need is open. The list below says which, and why.',
    }
  if (assurance === 'anchored' && broughtOnlyAKey(verification))
    return {
      tone: 'held',
      title: 'This log holds',
      text:
        'It is what was sealed, complete and in order, and signed by the key that you brought. Only who holds the signing ' +
        'key could have written it anew: a checkpoint you kept, witnesses or a timestamp rule that out, too.',
    }
  if (assurance === 'anchored')
    return {
      tone: 'held',
      title: 'This log holds',
      text: 'It is what was sealed, complete and in order, and it agrees with what you brought from outside.',
    }
  return {
    tone: 'limited',
    title: 'This log agrees with itself',
    text:
      'Nothing in it was changed, moved or removed after it was sealed, as far as the pack alone can show. Whoever holds ' +
      'the signing key could still have written all of it anew. To rule that out, bring something from outside: the key ' +
      'from your contract, a checkpoint you kept, or witnesses you trust.',
  }
}

const broughtOnlyAKey = ({ verdicts, anchors }: Verification): boolean =>
  verdicts.consistency !== 'held' && anchors.length === 0
