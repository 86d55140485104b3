import type { VNode } from 'preact'
import { html } from '../html.js'
import { duration } from '../model/format.js'
import type { Access, Connection } from '../net/live.js'

const WORDS = {
  connecting: ['connecting', 'Nothing was heard from the service yet.'],
  live: ['live', 'Told of everything as it happens.'],
  polling: ['every 2 s', 'The stream of events is not open; the list is read every two seconds instead.']
} as const

/** How fresh what is shown is. */
export function ConnectionMark({ connection }: { readonly connection: Connection }): VNode {
  const [words, hint] = connection.kind === 'lost' ? ['connection lost', connection.why] : WORDS[connection.kind]
  return html`<span class=${`connection ${connection.kind}`} role="status" title=${hint}><span class="dot"></span>${words}</span>`
}

/** Says aloud that what is shown is old. */
export function LostBanner({ connection, access }: { readonly connection: Connection; readonly access: Access }): VNode | null {
  if (access !== 'open') return html`<p class="banner" role="alert"><b>No access.</b> The service wants an API key that it knows. What you see is not kept up to date.</p>`
  if (connection.kind !== 'lost') return null
  const { since, why } = connection
  const age = since === null ? 'Nothing is known yet.' : `What you see is ${duration(Date.now() - since)} old.`
  return html`<p class="banner" role="alert"><b>Connection lost.</b> ${why}. ${age} Trying again …</p>`
}
