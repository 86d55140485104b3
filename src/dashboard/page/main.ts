import { render } from 'preact'
import { HttpLocks } from '../../client/index.js'
import { App } from './app.js'
import { html } from './hooks.js'
import { fetchWithKey, keyring, Live } from './live.js'

/** A reply that takes longer counts as none. */
const TIMEOUT_SECONDS = 15

const base = new URL('.', location.origin + location.pathname).href
const locks = new HttpLocks({ url: base, retrySeconds: 0, timeoutSeconds: TIMEOUT_SECONDS, listen: false, fetch: fetchWithKey })
const live = new Live(locks, () => keyring.get() !== null)
const root = document.querySelector('#app')
if (root !== null) render(html`<${App} live=${live} locks=${locks} base=${base.replace(/\/$/, '')} />`, root)
live.start()
