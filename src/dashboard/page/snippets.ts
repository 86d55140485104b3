import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { html } from './hooks.js'

const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/

/** Quotes a text so that a POSIX shell reads exactly this text. */
export function shellWord(text: string): string {
  return PLAIN.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

export interface Snippet {
  readonly title: string
  readonly text: string
}

/**
 * Commands for one resource, to copy into a shell.
 *
 * @param base where the service is, without a slash at the end.
 * @param withKey whether calls need a key; it is named by the variable that `rlm` reads, never written out.
 * @param limit that of the shares that hold it, null for none; undefined where it is not shared.
 */
export function snippetsFor(name: string, base: string, withKey: boolean, limit?: number | null): readonly Snippet[] {
  const sharing = limit === undefined ? {} : limit === null ? { mode: 'shared' } : { limit }
  const options = limit === undefined ? '' : limit === null ? ' --shared' : ` --limit ${limit}`
  const body = JSON.stringify({ resource_name: name, process_id: 'my-process', ttl_seconds: 60, wait_seconds: 10, ...sharing })
  const curl: Snippet[] = [
    {
      title: `Take ${limit === undefined ? 'it' : 'a share'} with curl, waiting ten seconds at most`,
      text: curlPost(base, withKey, body)
    },
    { title: 'Look at it', text: `curl ${shellWord(`${base}/locks/status?resource_name=${encodeURIComponent(name)}`)}${keyHeader(withKey)}` }
  ]
  // A name that begins with a dash would be read as an option.
  const run: Snippet[] = name.startsWith('-') ? [] : [{ title: limit === undefined ? 'Run a command under this lock' : 'Run a command under a share of it', text: `RLM_URL=${shellWord(base)} rlm run ${shellWord(name)}${options} -- CMD` }]
  return [...run, ...curl]
}

/** The command to begin with, where nothing is locked. @param key what the page's own key may do. */
export function firstCommand(base: string, key: { readonly prefix: string } | null): Snippet {
  const body = JSON.stringify({ resource_name: `${key?.prefix ?? ''}my first lock`, process_id: 'me', ttl_seconds: 60 })
  return { title: 'Take a lock for a minute', text: curlPost(base, key !== null, body) }
}

function curlPost(base: string, withKey: boolean, body: string): string {
  return `curl -X POST ${shellWord(`${base}/locks/request`)}${keyHeader(withKey)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shellWord(body)}`
}

function keyHeader(withKey: boolean): string {
  return withKey ? ' -H "Authorization: Bearer $RLM_API_KEY"' : ''
}

const THANKS_MS = 1500

/** Commands to copy. */
export function Snippets({ snippets }: { readonly snippets: readonly Snippet[] }): VNode {
  return html`<section class="panel snippets">
    <h3>Use it</h3>
    ${snippets.map((snippet) => html`<${Copyable} key=${snippet.title} snippet=${snippet} />`)}
  </section>`
}

/** A command with a button that copies it. */
export function Copyable({ snippet }: { readonly snippet: Snippet }): VNode {
  const [copied, setCopied] = useState(false)
  const thank = async (copying: Promise<boolean>): Promise<void> => {
    setCopied(await copying)
    setTimeout(() => setCopied(false), THANKS_MS)
  }
  const click = (event: MouseEvent): void => {
    const code = (event.currentTarget as HTMLElement).closest('figure')?.querySelector('code')
    if (code === null || code === undefined) return
    void thank(copy(code))
  }
  return html`<figure>
    <figcaption>
      ${snippet.title}
      <button type="button" class="quiet" onClick=${click} aria-label=${`Copy: ${snippet.title}`}>${copied ? 'Copied' : 'Copy'}</button>
    </figcaption>
    <pre><code>${snippet.text}</code></pre>
  </figure>`
}

/** Over plain http a page has no clipboard API; it can still copy the selection. */
async function copy(element: HTMLElement): Promise<boolean> {
  if (isSecureContext) {
    const done = await navigator.clipboard.writeText(element.textContent ?? '').then(
      () => true,
      () => false
    )
    if (done) return true
  }
  getSelection()?.selectAllChildren(element)
  return document.execCommand('copy')
}
