import type { VNode } from 'preact'
import { html } from '../html.js'
import { count, counted, duration } from '../model/format.js'
import type { Lock } from '../model/lock-table.js'
import type { Row } from '../model/rows.js'
import { LeaseBar } from './lease-bar.js'
import { ResourceLink } from './resource-link.js'
import type { Navigation } from './use.js'

interface GroupRowProps {
  readonly row: Extract<Row, { kind: 'group' }>
  readonly index: number
  readonly onFold: (prefix: string) => void
}

export function GroupRow({ row, index, onFold }: GroupRowProps): VNode {
  const { prefix, count: locks, waiters, open } = row
  return html`<div class="row group" role="row" aria-rowindex=${index + 2} data-index=${index}>
    <span role="cell" class="cell">
      <button type="button" aria-expanded=${open} onClick=${() => onFold(prefix)}>
        <span class="twist" aria-hidden="true"></span>
        <bdi class=${prefix === '' ? 'unnamed' : 'prefix'}>${prefix === '' ? 'other names' : prefix}</bdi>
      </button>
      <span class="sum">${counted(locks, 'lock')}${waiters > 0 && `, ${counted(waiters, 'waiter')}`}</span>
    </span>
  </div>`
}

interface LockRowProps {
  readonly lock: Lock
  readonly index: number
  readonly now: number
  readonly navigation: Navigation
  readonly onFocus: (index: number) => void
}

export function LockRow({ lock, index, now, navigation, onFocus }: LockRowProps): VNode {
  const { name, process, lockedAt, renewals, lockId, waiters } = lock
  return html`<div class="row lock" role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
    <span role="cell" class="cell name"><${ResourceLink} name=${name} navigation=${navigation} grouped=${true} /></span>
    <span role="cell" class="cell holder" title=${process}><bdi>${process}</bdi></span>
    <span role="cell" class="cell age">${duration(now - lockedAt)}</span>
    <span role="cell" class="cell ends"><${LeaseBar} lock=${lock} now=${now} key=${lockId} /></span>
    <span role="cell" class="cell renewals">${renewals === undefined ? '…' : renewals === 0 ? html`<i>–</i>` : count(renewals)}</span>
    <span role="cell" class="cell token">${lockId}</span>
    <span role="cell" class="cell waiters">${waiters === undefined ? '…' : waiters === 0 ? html`<i>–</i>` : html`<b>${count(waiters)}</b>`}</span>
  </div>`
}
