import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { html } from '../html.js'
import { keyring } from '../net/key.js'
import type { Access } from '../net/live.js'
import { Dialog } from './dialog.js'

interface KeyDialogProps {
  readonly access: Access
  /** The key is another one, or none. */
  readonly onChange: () => void
  readonly onClose: () => void
}

const WORDS: Readonly<Record<Access, string>> = {
  open: 'The key is kept in this tab until you close it, and sent to this service only.',
  'key-needed': 'This service wants an API key. It is kept in this tab until you close it, and sent to this service only.',
  'key-refused': 'The service does not know this key, or no longer. Try another one.'
}

/** Asks for an API key. */
export function KeyDialog({ access, onChange, onClose }: KeyDialogProps): VNode {
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
      <p>${WORDS[access]}</p>
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
