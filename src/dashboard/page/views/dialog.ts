import type { ComponentChildren, VNode } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { html } from '../html.js'

interface DialogProps {
  readonly title: string
  /** Escape, or whatever else the browser closes a dialog for. */
  readonly onClose: () => void
  readonly children?: ComponentChildren
}

/** A dialog that keeps the focus until it is closed; the browser sees to that. */
export function Dialog({ title, onClose, children }: DialogProps): VNode {
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => element.current?.showModal(), [])
  return html`<dialog ref=${element} onClose=${onClose} aria-label=${title}>
    <h2>${title}</h2>
    ${children}
  </dialog>`
}
