/**
 * The template language of the catalog (see CatalogEntry.sentence), parsed once per template into a tree.
 *
 * template = "<" past "|" base ">" then text, values and groups
 * value    = "{" name ("|" name)* ["|" text] "}"        the first name that has a value, else the text
 * thing    = "{thing" noun "of" noun "}"                 a part and its owner; the target may be either
 * group    = "[" template parts "]"                       left out when a value inside is missing
 */

export type Part =
  | { kind: 'text'; text: string }
  | { kind: 'value'; names: string[]; fallback: string | undefined }
  | { kind: 'thing'; thing: string; owner: string }
  | { kind: 'group'; parts: Part[] }

export interface Template {
  past: string
  base: string
  parts: Part[]
}

const valueName = /^(?:target(?:\.[0-9])?|path|before|after|metadata\.[A-Za-z0-9_.-]+)$/
const verbShape = /^<([^<>|[\]{}]+)\|([^<>|[\]{}]+)>/

/** Or a sentence that says what is wrong, for whoever registers an action. */
export function parseTemplate(source: string): { ok: true; template: Template } | { ok: false; detail: string } {
  const verb = verbShape.exec(source)
  if (verb === null) return { ok: false, detail: 'A sentence begins with its verb: <changed|change>.' }
  const parts = parseParts(source.slice(verb[0].length), true)
  if (typeof parts === 'string') return { ok: false, detail: parts }
  return { ok: true, template: { past: verb[1]!, base: verb[2]!, parts } }
}

function parseParts(source: string, mayGroup: boolean): Part[] | string {
  const parts: Part[] = []
  for (let at = 0; at < source.length; ) {
    const c = source[at]!
    if (c === '{' || (c === '[' && mayGroup)) {
      const end = source.indexOf(c === '{' ? '}' : ']', at)
      if (end === -1) return `The ${c} at ${at} is not closed.`
      const inner = source.slice(at + 1, end)
      const part = c === '{' ? parseValue(inner) : parseGroup(inner)
      if (typeof part === 'string') return part
      parts.push(part)
      at = end + 1
    } else if ('}[]<>'.includes(c)) {
      return `Unexpected ${c}.`
    } else {
      const end = source.slice(at).search(/[{}[\]<>]/)
      const text = end === -1 ? source.slice(at) : source.slice(at, at + end)
      parts.push({ kind: 'text', text })
      at += text.length
    }
  }
  return parts
}

function parseGroup(inner: string): Part | string {
  const parts = parseParts(inner, false)
  return typeof parts === 'string' ? parts : { kind: 'group', parts }
}

function parseValue(inner: string): Part | string {
  const thing = /^thing ([^{}|]+) of ([^{}|]+)$/.exec(inner)
  if (thing !== null) return { kind: 'thing', thing: thing[1]!, owner: thing[2]! }
  const words = inner.split('|')
  const names = words.filter((word) => valueName.test(word))
  const fallback = words.slice(names.length)
  if (
    names.length === 0 ||
    fallback.length > 1 ||
    !words.slice(0, names.length).every((word) => valueName.test(word))
  ) {
    return `{${inner}} names no value.`
  }
  return { kind: 'value', names, fallback: fallback[0] }
}
