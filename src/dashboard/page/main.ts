import { render } from 'preact'
import { html } from './html.js'
import { Api } from './net/api.js'
import { keyring } from './net/key.js'
import { Live } from './net/live.js'
import { App } from './views/app.js'

const base = new URL('.', document.baseURI).href
const api = new Api({ base, key: keyring.get })
const live = new Live(api, () => keyring.get() !== null)
const root = document.querySelector('#app')
if (root !== null) render(html`<${App} live=${live} api=${api} base=${base.replace(/\/$/, '')} />`, root)
live.start()
