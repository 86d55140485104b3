import type { ComponentChildren, VNode } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { clockTime, utcTime, zoneOf } from './format.js'
import { html, isPlainClick, type Navigation } from './hooks.js'
import { groupOf } from './rows.js'

/** A shorter text needs no cut in its middle. */
const SHORT = 24
/** The end of a text, which is never cut; a mark stays with the character that it belongs to. */
const TAIL = /(?:\P{M}\p{M}*){12}$/u

interface CutProps {
  readonly text: string
  /** How much of the beginning is shown faintly, and cut first. */
  readonly faint?: number
}

/** A text that loses its middle where it does not fit, since names often differ only at their ends. */
export function Cut({ text, faint = 0 }: CutProps): VNode {
  const at = text.length <= SHORT ? text.length : Math.max(faint, text.search(TAIL))
  return html`<span class="cut" dir="auto"
    >${faint > 0 && html`<span class="prefix">${text.slice(0, faint)}</span>`}<span class="fore">${text.slice(faint, at)}</span
    >${at < text.length && html`<span class="tail">${text.slice(at)}</span>`}</span
  >`
}

interface ResourceLinkProps {
  readonly name: string
  readonly navigation: Navigation
  /** Whether the prefix already stands above, so that the name shows it faintly. */
  readonly grouped?: boolean
  readonly title?: string
  /** A text instead of the name. */
  readonly children?: ComponentChildren
}

/** The name of a resource as a link to its page. */
export function ResourceLink({ name, navigation, grouped = false, title = name, children = null }: ResourceLinkProps): VNode {
  const { go, hrefOf } = navigation
  const open = (event: MouseEvent): void => {
    if (!isPlainClick(event)) return
    event.preventDefault()
    go({ resource: name })
  }
  return html`<a class="name" href=${hrefOf({ resource: name })} onClick=${open} title=${title}
    >${children ?? html`<${Cut} text=${name} faint=${grouped ? groupOf(name).length : 0} />`}</a
  >`
}

interface MomentProps {
  readonly at: number
  readonly now: number
  /** False where the zone stands above already. */
  readonly zone?: boolean
  readonly toMinute?: boolean
}

/** A time in the reader's zone, and in UTC when the mouse points to it. */
export function Moment({ at, now, zone = true, toMinute = false }: MomentProps): VNode {
  return html`<time datetime=${new Date(at).toISOString()} title=${utcTime(at)}>${clockTime(at, now, toMinute)}${zone && ` ${zoneOf(at)}`}</time>`
}

interface DialogProps {
  readonly title: string
  /** Called when the browser closes the dialog, by Escape for instance. */
  readonly onClose: () => void
  readonly children?: ComponentChildren
}

/** A modal dialog: the browser keeps the focus in it until it is closed. */
export function Dialog({ title, onClose, children }: DialogProps): VNode {
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => element.current?.showModal(), [])
  return html`<dialog ref=${element} onClose=${onClose} aria-label=${title}>
    <h2>${title}</h2>
    ${children}
  </dialog>`
}
