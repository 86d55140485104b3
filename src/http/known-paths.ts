interface KnownPath {
  readonly pattern: RegExp
  readonly methods: Set<string>
  /** What stands in a refusal of this path's API beside its `error`; undefined for the service's own. */
  readonly frame: Readonly<Record<string, unknown>> | undefined
}

/** The paths that some method is served at, with all those methods, for whoever asks with another one. */
export class KnownPaths {
  readonly #paths = new Map<string, KnownPath>()

  /** @param url as a route has it: `/lock/user/:id`, `/docs/static/*`. */
  add(methods: readonly string[], url: string, frame?: KnownPath['frame']): void {
    const path = this.#paths.get(url) ?? { pattern: patternOf(url), methods: new Set<string>(), frame }
    this.#paths.set(url, path)
    for (const method of methods) path.methods.add(method)
    // Of a path with a slash at its end Fastify tells only this one.
    if (path.methods.has('HEAD')) path.methods.add('GET')
  }

  /** What is served at the path of that URL, unless it is that method or nothing. */
  insteadOf(method: string, url: string): { readonly allow: string; readonly frame: KnownPath['frame'] } | undefined {
    const path = decoded(url.replace(/\?.*$/s, ''))
    const found = [...this.#paths.values()].filter(({ pattern }) => pattern.test(path))
    if (found.length === 0 || found.some(({ methods }) => methods.has(method))) return undefined
    return { allow: [...new Set(found.flatMap(({ methods }) => [...methods]))].join(', '), frame: found[0]?.frame }
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
