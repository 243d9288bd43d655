/** A finding about the registry, or about a trail's slot in it. */
export interface RegistryFinding {
  readonly verdict: 'registry'
  readonly state: 'failed' | 'unchecked'
  readonly code: string
  readonly seq?: number
  readonly message: string
}

export const failed = (code: string, message: string): RegistryFinding => ({
  verdict: 'registry',
  state: 'failed',
  code,
  message,
})
export const unchecked = (code: string, message: string): RegistryFinding => ({
  verdict: 'registry',
  state: 'unchecked',
  code,
  message,
})
