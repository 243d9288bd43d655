// Makes places of their settings. What a kind needs is large and is loaded only where the kind is configured.
import type { Outbound } from './outbound.ts'
import type { Place } from './place.ts'
import { type AnchorSettings, BadAnchors } from './settings.ts'

/** @throws BadAnchors with every setting that turns out to be unusable */
export async function openPlaces(settings: readonly AnchorSettings[], outbound: Outbound): Promise<Place[]> {
  const problems: string[] = []
  const places: Place[] = []
  for (const one of settings) {
    try {
      places.push(await openPlace(one, outbound))
    } catch (error) {
      problems.push(`anchor ${one.name}: ${(error as Error).message}`)
    }
  }
  if (problems.length > 0) throw new BadAnchors(`AFFIDAVIT_ANCHORS:\n  ${problems.join('\n  ')}`)
  return places
}

async function openPlace(settings: AnchorSettings, outbound: Outbound): Promise<Place> {
  switch (settings.kind) {
    case 'bucket':
      return new (await import('./bucket.ts')).BucketPlace(settings)
    case 'timestamp':
      return new (await import('./timestamp-place.ts')).TimestampPlace(settings, outbound)
    case 'mailbox':
      return new (await import('./mailbox.ts')).MailboxPlace(settings)
    case 'webhook':
      return new (await import('./webhook.ts')).WebhookPlace(settings, outbound)
  }
}
