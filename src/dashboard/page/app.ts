import type { VNode } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { html } from '../html.js'
import type { Api } from '../net/api.js'
import { keyring } from '../net/key.js'
import type { Live } from '../net/live.js'
import { ConnectionMark, LostBanner } from './connection.js'
import { HelpDialog } from './help-dialog.js'
import { KeyDialog } from './key-dialog.js'
import { Overview } from './overview.js'
import { ResourcePage } from './resource.js'
import { isForPage, isPlainClick, useKeys, useLive, useView } from './use.js'

const MARK = html`<svg viewBox="0 0 20 20" aria-hidden="true">
  <path d="M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />
  <rect x="4" y="8.5" width="12" height="9" rx="2.2" fill="currentColor" />
</svg>`

interface AppProps {
  readonly live: Live
  readonly api: Api
  /** Where the service is, without a slash at the end. */
  readonly base: string
}

/** The whole page. */
export function App({ live, api, base }: AppProps): VNode {
  useLive(live)
  const navigation = useView()
  const { view, go, hrefOf } = navigation
  const [dialog, setDialog] = useState<'key' | 'help' | null>(null)
  useEffect(() => {
    if (live.access !== 'open') setDialog('key')
  }, [live.access, live.refusals])
  useEffect(() => {
    document.title = view.resource === null ? 'Locks' : `${view.resource} – Locks`
  }, [view.resource])
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
      <${ConnectionMark} connection=${live.connection} />
      <nav>
        <a href=${`${base}/docs`}>API</a>
        <button type="button" class="quiet" onClick=${() => setDialog('help')}>Shortcuts <kbd>?</kbd></button>
        <button type="button" class="quiet" onClick=${() => setDialog('key')}>${keyring.get() === null ? 'API key' : 'API key ✓'}</button>
      </nav>
    </header>
    <${LostBanner} connection=${live.connection} access=${live.access} />
    ${view.resource === null
      ? html`<${Overview} live=${live} navigation=${navigation} />`
      : html`<${ResourcePage}
          key=${view.resource}
          name=${view.resource}
          live=${live}
          api=${api}
          base=${base}
          withKey=${keyring.get() !== null}
          navigation=${navigation}
        />`}
    ${dialog === 'key' && html`<${KeyDialog} access=${live.access} onChange=${keyChanged} onClose=${close} />`}
    ${dialog === 'help' && html`<${HelpDialog} onClose=${close} />`}
  </div>`
}

/** Going back to the table leads to where one was in it. */
function useScrollMemory(resource: string | null): void {
  const table = useRef(0)
  const shown = useRef(resource)
  // Read while the table is still on the page: a shorter one moves by itself, and the event of a scroll comes only with the next frame.
  if (shown.current === null && resource !== null) table.current = scrollY
  shown.current = resource
  useLayoutEffect(() => {
    history.scrollRestoration = 'manual'
    if (resource === null) scrollTo(0, table.current)
  }, [resource])
}
