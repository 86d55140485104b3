import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { html } from '../html.js'
import type { Snippet } from '../model/snippets.js'

const THANKS_MS = 1500

/** Commands to copy. */
export function Snippets({ snippets }: { readonly snippets: readonly Snippet[] }): VNode {
  return html`<section class="panel snippets">
    <h3>Use it</h3>
    ${snippets.map((snippet) => html`<${Copyable} key=${snippet.title} snippet=${snippet} />`)}
  </section>`
}

function Copyable({ snippet }: { readonly snippet: Snippet }): VNode {
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

/** Over plain http a page has no clipboard of its own; it can still copy what is selected. */
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
