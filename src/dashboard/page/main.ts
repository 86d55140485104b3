import { render, type VNode } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { HttpLocks, type Stats } from '../../client/index.js'
import { html, isForPage, isPlainClick, useKeys, useLive, useView } from './hooks.js'
import { fetchWithKey, keyring, Live, type Access, type Connection } from './live.js'
import { Overview } from './overview.js'
import { duration, Dialog } from './parts.js'
import { ResourcePage } from './resource.js'

const MARK = html`<svg viewBox="0 0 20 20" aria-hidden="true">
  <path d="M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />
  <rect x="4" y="8.5" width="12" height="9" rx="2.2" fill="currentColor" />
</svg>`

interface AppProps {
  readonly live: Live
  readonly locks: HttpLocks
  /** Where the service is, without a slash at the end. */
  readonly base: string
}

/** The whole page. */
function App({ live, locks, base }: AppProps): VNode {
  useLive(live)
  const navigation = useView()
  const { view, go, hrefOf } = navigation
  const [dialog, setDialog] = useState<'key' | 'help' | null>(null)
  useEffect(() => {
    if (live.access !== 'open') setDialog('key')
  }, [live.access, live.refusals])
  const { key = null, database = null } = live.about ?? {}
  const where = [location.host, database].filter(Boolean).join(' · ')
  useEffect(() => {
    document.title = [view.resource, 'Locks', where].filter((part) => part !== null).join(' – ')
  }, [view.resource, where])
  useKeys((event) => {
    if (event.key === '?' && isForPage(event)) setDialog('help')
  })
  useScrollMemory(view.resource)
  const home = (event: MouseEvent): void => {
    if (!isPlainClick(event)) return
    event.preventDefault()
    go({ resource: null })
  }
  const keyChanged = (): void => {
    setDialog(null)
    live.start()
  }
  const close = (): void => setDialog(null)
  return html`<div class=${`page ${live.connection.kind}`}>
    <header class="top">
      <h1><a href=${hrefOf({ resource: null })} onClick=${home}>${MARK} Locks</a></h1>
      <span class="where" title=${where}>${where}</span>
      <${ConnectionMark} connection=${live.connection} />
      <${LostBanner} connection=${live.connection} access=${live.access} />
      <nav aria-label="Page">
        <a href=${`${base}/docs`}>API</a>
        <a class="wide" href=${`${base}/redoc`}>Reference</a>
        <button type="button" class="quiet" onClick=${() => setDialog('help')}>Shortcuts <kbd>?</kbd></button>
        <button type="button" class="quiet key" onClick=${() => setDialog('key')}>${keyring.get() === null ? 'API key' : key === null ? 'API key ✓' : html`Key ${key.name} <span class="wide">${mayOf(key)}</span>`}</button>
      </nav>
    </header>
    ${view.resource === null
      ? html`<${Overview} live=${live} base=${base} navigation=${navigation} />`
      : html`<${ResourcePage}
          key=${view.resource}
          name=${view.resource}
          live=${live}
          locks=${locks}
          base=${base}
          withKey=${keyring.get() !== null}
          navigation=${navigation}
        />`}
    ${dialog === 'key' && html`<${KeyDialog} access=${live.access} known=${key} onChange=${keyChanged} onClose=${close} />`}
    ${dialog === 'help' && html`<${HelpDialog} onClose=${close} />`}
  </div>`
}

/** Going back to the table restores its scroll position. */
function useScrollMemory(resource: string | null): void {
  const table = useRef(0)
  const shown = useRef(resource)
  // Read while the table is still on the page: a shorter page scrolls by itself, and the scroll event comes only with the next frame.
  if (shown.current === null && resource !== null) table.current = scrollY
  shown.current = resource
  useLayoutEffect(() => {
    history.scrollRestoration = 'manual'
    if (resource === null) scrollTo(0, table.current)
  }, [resource])
}

const CONNECTION_WORDS = {
  connecting: ['connecting', 'Nothing was heard from the service yet.'],
  live: ['live', 'Told of everything as it happens.'],
  polling: ['every 2 s', 'The stream of events is not open; the list is read every two seconds instead.']
} as const

/** How up to date the page is. */
function ConnectionMark({ connection }: { readonly connection: Connection }): VNode {
  const [words, hint] = 'why' in connection ? [connection.kind === 'lost' ? 'connection lost' : 'no access', connection.why] : CONNECTION_WORDS[connection.kind]
  return html`<span class=${`connection ${connection.kind}`} role="status" title=${hint}><span class="dot"></span>${words}</span>`
}

const NO_ACCESS = {
  'key-needed': 'The service wants an API key.',
  'key-refused': 'The service does not know this API key, or no longer.',
  'key-too-weak': 'This API key may not read: it lacks the scope read.'
} as const

/** Announces that the page is not up to date. */
function LostBanner({ connection, access }: { readonly connection: Connection; readonly access: Access }): VNode | null {
  if (!('why' in connection)) return null
  const { since, why } = connection
  const age = since === null ? 'Nothing is known yet.' : `What you see is ${duration(Date.now() - since)} old.`
  if (access !== 'open') return html`<p class="banner" role="alert"><b>No access.</b> ${NO_ACCESS[access]} ${age}</p>`
  return html`<p class="banner" role="alert"><b>Connection lost.</b> ${why}. ${age} Trying again …</p>`
}

interface KeyDialogProps {
  readonly access: Access
  /** What the key that is in use may do, where the service told. */
  readonly known: Stats['key']
  /** Called when another key was entered, or the key was removed. */
  readonly onChange: () => void
  readonly onClose: () => void
}

const ACCESS_WORDS: Readonly<Record<Access, string>> = {
  open: 'The key is kept in this tab until you close it, and sent to this service only.',
  'key-needed': 'This service wants an API key. It is kept in this tab until you close it, and sent to this service only.',
  'key-refused': 'The service does not know this key, or no longer. Try another one.',
  'key-too-weak': 'This key may not read. Try another one, with the scope read.'
}

/** `read, write, names that begin with reports/` */
function mayOf({ scopes, prefix }: NonNullable<Stats['key']>): string {
  return `${scopes.join(', ')}; ${prefix === '' ? 'all names' : `names that begin with ${prefix}`}`
}

/** Asks for an API key. */
function KeyDialog({ access, known, onChange, onClose }: KeyDialogProps): VNode {
  const [typed, setTyped] = useState('')
  const submit = (event: Event): void => {
    event.preventDefault()
    if (typed.trim() === '') return
    keyring.set(typed.trim())
    onChange()
  }
  const forget = (): void => {
    keyring.forget()
    onChange()
  }
  return html`<${Dialog} title="API key" onClose=${onClose}>
    <form onSubmit=${submit}>
      <p>${ACCESS_WORDS[access]}</p>
      ${known !== null && html`<p>In use is <b><bdi>${known.name}</bdi></b>: <b><bdi>${mayOf(known)}</bdi></b>.</p>`}
      <label>
        <span>Key</span>
        <input
          type="password"
          name="key"
          autocomplete="off"
          autofocus
          value=${typed}
          onInput=${(event: Event) => setTyped((event.currentTarget as HTMLInputElement).value)}
        />
      </label>
      <p class="actions">
        ${keyring.get() !== null && html`<button type="button" class="quiet" onClick=${forget}>Forget the key</button>`}
        <button type="button" class="quiet" onClick=${onClose}>Cancel</button>
        <button type="submit" class="primary" disabled=${typed.trim() === ''}>Use this key</button>
      </p>
    </form>
  <//>`
}

const KEYS = [
  ['/', 'filter'],
  ['↓ ↑ or j k', 'next and previous line'],
  ['Home End', 'first and last line'],
  ['Enter', 'open the resource, or fold the group or the holders'],
  ['x', 'pick the lock, for an action on several'],
  ['Esc', 'back to the table; in the filter, clear it'],
  ['f', 'on a resource’s page: force release'],
  ['?', 'this help']
] as const

/** The keys that work on the page. */
function HelpDialog({ onClose }: { readonly onClose: () => void }): VNode {
  return html`<${Dialog} title="Keyboard" onClose=${onClose}>
    <dl class="keys">
      ${KEYS.map(([key, what]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${what}</dd>`)}
    </dl>
    <p class="actions"><button type="button" class="quiet" onClick=${onClose} autofocus>Close</button></p>
  <//>`
}

/** A reply that takes longer counts as none. */
const TIMEOUT_SECONDS = 15

const base = new URL('.', location.origin + location.pathname).href
const locks = new HttpLocks({ url: base, retrySeconds: 0, timeoutSeconds: TIMEOUT_SECONDS, listen: false, fetch: fetchWithKey })
const live = new Live(locks, () => keyring.get() !== null)
const root = document.querySelector('#app')
if (root !== null) render(html`<${App} live=${live} locks=${locks} base=${base.replace(/\/$/, '')} />`, root)
live.start()
