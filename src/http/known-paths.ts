type Frame = Readonly<Record<string, unknown>>

interface Route {
  readonly method: string | string[]
  /** `/lock/user/:id`, `/docs/static/*` */
  readonly url: string
  /** `frame` is what stands in a refusal of this path's API beside its `error`; none for the service's own. */
  config?: { readonly frame?: Frame }
}

interface KnownPath {
  readonly pattern: RegExp
  readonly methods: Set<string>
  readonly route: Route
}

/** The paths that some method is served at, with all those methods, for whoever asks with another one. */
export class KnownPaths {
  readonly #paths = new Map<string, KnownPath>()

  /** The route's configuration may still be completed afterwards. */
  add(route: Route): void {
    const path = this.#paths.get(route.url) ?? { pattern: patternOf(route.url), methods: new Set<string>(), route }
    this.#paths.set(route.url, path)
    for (const method of [route.method].flat()) path.methods.add(method)
    // Of a path with a slash at its end Fastify tells only this one.
    if (path.methods.has('HEAD')) path.methods.add('GET')
  }

  /** What is served at the path of that URL, unless it is that method or nothing. */
  insteadOf(method: string, url: string): { readonly allow: string; readonly frame: Frame | undefined } | undefined {
    const path = decoded(url.replace(/\?.*$/s, ''))
    const found = [...this.#paths.values()].filter(({ pattern }) => pattern.test(path))
    if (found.length === 0 || found.some(({ methods }) => methods.has(method))) return undefined
    return { allow: [...new Set(found.flatMap(({ methods }) => [...methods]))].join(', '), frame: found[0]?.route.config?.frame }
  }
}

function patternOf(url: string): RegExp {
  const segments = url.split('/').map((segment) => {
    if (segment === '*') return '.*'
    return segment.startsWith(':') ? '[^/]+' : segment.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
  })
  return new RegExp(`^${segments.join('/')}$`, 's')
}

function decoded(path: string): string {
  try {
    // A slash that is encoded is part of an id.
    return decodeURI(path)
  } catch {
    return path
  }
}
