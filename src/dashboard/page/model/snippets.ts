const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/

/** A word that a POSIX shell reads as exactly this text. */
export function shellWord(text: string): string {
  return PLAIN.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

export interface Snippet {
  readonly title: string
  readonly text: string
}

/**
 * Commands for one resource, to be copied into a shell.
 *
 * @param base where the service is, without a slash at the end.
 * @param withKey whether calls need a key; it is named by the variable that `rlm` reads, never written out.
 */
export function snippetsFor(name: string, base: string, withKey: boolean): readonly Snippet[] {
  const key = withKey ? ' -H "Authorization: Bearer $RLM_API_KEY"' : ''
  const body = JSON.stringify({ resource_name: name, process_id: 'my-process', ttl_seconds: 60, wait_seconds: 10 })
  const curl: Snippet[] = [
    {
      title: 'Take it with curl, waiting ten seconds at most',
      text: `curl -X POST ${shellWord(`${base}/locks/request`)}${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shellWord(body)}`
    },
    { title: 'Look at it', text: `curl ${shellWord(`${base}/locks/status?resource_name=${encodeURIComponent(name)}`)}${key}` }
  ]
  // A name that begins with a dash would be read as an option.
  const run: Snippet[] = name.startsWith('-') ? [] : [{ title: 'Run a command under this lock', text: `rlm run ${shellWord(name)} -- CMD` }]
  return [...run, ...curl]
}
