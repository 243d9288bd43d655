// The rules of the house, as functions over source files. tidy.test.ts applies them to the repository, and shows each
// failing on a bad example.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'

export interface Source {
  /** From the repository's root, with slashes: `server/src/seal/lane.ts`. */
  path: string
  text: string
}

const packages = ['trail', 'sigma', 'sdk', 'server', 'cli', 'web', 'bench']

/** Every TypeScript and JavaScript file of every package, tests and launchers included. */
export function readSources(root: string): Source[] {
  return packages
    .flatMap((name) => [...files(join(root, name))])
    .map((path) => ({
      path: relative(root, path).replaceAll('\\', '/'),
      text: readFileSync(path, 'utf8'),
    }))
}

function* files(folder: string): Generator<string> {
  let entries: ReturnType<typeof list>
  try {
    entries = list(folder)
  } catch {
    return // a package that does not exist yet
  }
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (!['node_modules', 'dist', 'results', 'vectors'].includes(entry.name)) yield* files(path)
    } else if (/\.(ts|tsx|mjs|js)$/.test(entry.name)) yield path
  }
}

const list = (folder: string) => readdirSync(folder, { withFileTypes: true })

export const isTest = (path: string) => /\.test\.tsx?$/.test(path) || /^[a-z]+\/test\//.test(path)

// ─── Imports ────────────────────────────────────────────────────────────────────────────────────────────────────────

const ground = ['tenants', 'keys', 'catalog', 'filter', 'render']
const stages = [
  'ingest',
  'seal',
  'notarize',
  'registry',
  'anchor',
  'query',
  'detect',
  'summarize',
  'deliver',
  'archive',
  'erase',
  'recovery',
  'scrub',
]

/** What each part may import, besides itself. */
const allowed = new Map<string, readonly string[]>([
  ['trail', []],
  ['sigma', []],
  ['sdk', ['trail']],
  ['store', ['trail']],
  ...ground.map((part) => [part, ['trail', 'store']] as const),
  ...stages.map((part) => [part, ['trail', 'store', ...ground, ...(part === 'detect' ? ['sigma'] : [])]] as const),
  ['http', ['trail', 'sigma', 'store', ...ground, ...stages]],
  ['config', []],
  ['main', ['trail', 'sigma', 'config', 'store', ...ground, ...stages, 'http']],
  ['cli', ['main', 'config', 'sdk', 'trail', 'sigma']],
  ['web', ['sdk', 'trail']],
  ['bench', [...packages, 'store', ...ground, ...stages, 'http', 'config', 'main']],
])

/** Packages that others publish or run in browsers: no dependency, and no Node in the pure ones. */
const withoutDependencies = ['trail', 'sigma', 'sdk']
const withoutNode = ['trail', 'sigma']

/** `server/src/seal/lane.ts` → `seal`, `trail/src/tree/tree.ts` → `trail`; what lies beside main.ts, and `assembly`, are parts of it. */
export function partOf(path: string): string {
  const [first, second, third] = path.split('/')
  if (first !== 'server' || second !== 'src') return first!
  if (third === 'config.ts') return 'config'
  return third!.endsWith('.ts') || third === 'assembly' ? 'main' : third!
}

const importPattern =
  /^[ \t]*(?:import|export)\b[^'";=()]*?\bfrom\s*['"]([^'"]+)['"]|^[ \t]*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm

export const importsOf = ({ text }: Source): string[] =>
  [...text.matchAll(importPattern)].map(([, from, bare, dynamic]) => (from ?? bare ?? dynamic)!)

/** The file of ours that an import names, or undefined for Node and npm packages. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier)).replaceAll('\\', '/')
  const ours = /^@affidavit\/([a-z]+)(?:\/(.*))?$/.exec(specifier)
  if (!ours) return specifier === 'affidavit' ? 'cli/src/main.ts' : undefined
  return `${ours[1]}/src/${ours[2] ?? 'index.ts'}`
}

/** Tests may reach for anything in their package's reach; what ships may only import downward. */
export function wrongImports(sources: Source[]): string[] {
  const wrong: string[] = []
  for (const source of sources.filter(({ path }) => !isTest(path))) {
    const part = partOf(source.path)
    for (const specifier of importsOf(source)) {
      const target = resolveImport(source.path, specifier)
      if (target === undefined) {
        if (foreign(part, specifier)) wrong.push(`${source.path} imports ${specifier}: ${part} has no dependency`)
        continue
      }
      const other = partOf(target)
      if (isTest(target)) {
        // Benchmarks do not ship, and measure on what tests build.
        if (part !== 'bench') wrong.push(`${source.path} imports the test file ${target}`)
      } else if (other !== part && !allowed.get(part)?.includes(other))
        wrong.push(`${source.path} imports ${target}: ${part} may not import ${other}`)
    }
  }
  return wrong
}

const foreign = (part: string, specifier: string) =>
  specifier.startsWith('node:') ? withoutNode.includes(part) : withoutDependencies.includes(part)

/** Files that import each other in a circle; each circle once, as the path around it. */
export function importCycles(sources: Source[]): string[] {
  const graph = new Map(
    sources.map((source) => [
      source.path,
      importsOf(source).flatMap((specifier) => resolveImport(source.path, specifier) ?? []),
    ]),
  )
  const cycles: string[] = []
  const finished = new Set<string>()
  const visit = (path: string, trail: string[]) => {
    const start = trail.indexOf(path)
    if (start >= 0) return void cycles.push([...trail.slice(start), path].join(' → '))
    if (finished.has(path)) return
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path])
    finished.add(path)
  }
  for (const path of graph.keys()) visit(path, [])
  return cycles
}

// ─── Names, lengths, environment ────────────────────────────────────────────────────────────────────────────────────

const drawer = /^(utils?|helpers?|commons?|shared|libs?|misc|types?|services?|managers?)$/

/** A drawer's name says nothing about what is in it. */
export const drawers = (sources: Source[]): string[] =>
  sources.map(({ path }) => path).filter((path) => path.split('/').some((name) => drawer.test(name.split('.')[0]!)))

const longest = { source: 400, test: 600 }

export function tooLong(sources: Source[]): string[] {
  return sources.flatMap(({ path, text }) => {
    const lines = text.trimEnd().split('\n').length
    const limit = isTest(path) ? longest.test : longest.source
    return lines > limit ? [`${path} has ${lines} lines, more than ${limit}`] : []
  })
}

const readsEnvironment =
  /\bprocess\??\s*\.\s*env\b|\bprocess\s*\[|\benv\b[^\n}]*\}\s*(?:=\s*process\b|from\s*['"]node:process['"])/

/** Only a package's config.ts reads the environment; launchers (`bin/`), tests and benchmarks are their own. */
export const environmentReaders = (sources: Source[]): string[] =>
  sources
    .filter(({ path }) => !isTest(path) && !/^(bench\/|[a-z]+\/bin\/|[a-z]+\/src\/config\.ts$)/.test(path))
    .filter(({ text }) => readsEnvironment.test(text.replaceAll(/\/\/.*$/gm, '')))
    .map(({ path }) => path)

/** Of ../shared, the folder beside the checkout: a path that leads elsewhere skips its tests for ever, without a word. */
export const strayPaths = (sources: Source[]): string[] =>
  sources.flatMap(({ path, text }) =>
    [...text.matchAll(/['"`]((?:\.\.\/)+shared\/[^'"`]*)['"`]/g)]
      .map(([, to]) => normalize(join(dirname(path), to!)))
      .filter((to) => !/^\.\.\/shared\//.test(to))
      .map((to) => `${path}: ${to}`),
  )
