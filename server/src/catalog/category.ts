/** The six kinds of action. They stand in the sealed entry (`event <category>`), so the list is final. */
export const categories = [
  'authentication',
  'authorization',
  'mutation',
  'data_access',
  'administration',
  'billing',
] as const

export type Category = (typeof categories)[number]
