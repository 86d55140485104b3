import type { VNode } from 'preact'
import { html } from '../html.js'
import { groupOf } from '../model/names.js'
import { isPlainClick, type Navigation } from './use.js'

interface ResourceLinkProps {
  readonly name: string
  readonly navigation: Navigation
  /** The prefix stands above, and the name need not repeat it in full strength. */
  readonly grouped?: boolean
}

/** The name of a resource, which leads to its page. */
export function ResourceLink({ name, navigation, grouped = false }: ResourceLinkProps): VNode {
  const { go, hrefOf } = navigation
  const prefix = grouped ? groupOf(name) : ''
  const open = (event: MouseEvent): void => {
    if (!isPlainClick(event)) return
    event.preventDefault()
    go({ resource: name })
  }
  return html`<a class="name" href=${hrefOf({ resource: name })} onClick=${open} title=${name}
    ><bdi><span class="prefix">${prefix}</span>${name.slice(prefix.length)}</bdi></a
  >`
}
