// People who are counted when they are read: how many characters of their values are held at once at most.
import type { Personas } from '../src/keys/personas.ts'

export function watchedPersonas(personas: Personas): { readonly personas: Personas; readonly largest: () => number } {
  let largest = 0
  const open: Personas['open'] = async (...asked) => {
    const opened = await personas.open(...asked)
    const sizes = [...opened.values()].map((one) => (typeof one === 'object' ? one.content.length : 0))
    largest = Math.max(
      largest,
      sizes.reduce((sum, size) => sum + size, 0),
    )
    return opened
  }
  return { personas: Object.assign(Object.create(personas), { open }), largest: () => largest }
}
