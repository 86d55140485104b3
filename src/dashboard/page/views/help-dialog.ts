import type { VNode } from 'preact'
import { html } from '../html.js'
import { Dialog } from './dialog.js'

const KEYS = [
  ['/', 'filter'],
  ['↓ ↑ or j k', 'next and previous line'],
  ['Home End', 'first and last line'],
  ['Enter', 'open the resource, or fold the group'],
  ['Esc', 'back to the table; in the filter, clear it'],
  ['f', 'on a resource’s page: force release'],
  ['?', 'this help']
] as const

/** The keys that the page listens to. */
export function HelpDialog({ onClose }: { readonly onClose: () => void }): VNode {
  return html`<${Dialog} title="Keyboard" onClose=${onClose}>
    <dl class="keys">
      ${KEYS.map(([key, what]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${what}</dd>`)}
    </dl>
    <p class="actions"><button type="button" class="quiet" onClick=${onClose} autofocus>Close</button></p>
  <//>`
}
