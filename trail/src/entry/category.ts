/** The six categories of events: the only thing an entry says about its event in the clear. */
export const CATEGORIES = [
  'authentication',
  'authorization',
  'mutation',
  'data_access',
  'administration',
  'billing',
] as const

export type Category = (typeof CATEGORIES)[number]
