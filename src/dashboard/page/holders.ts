import type { VNode } from 'preact'
import type { Target } from './force-release.js'
import { count, counted, duration } from './format.js'
import { html, isPlainClick, type Navigation } from './hooks.js'
import type { Lock } from './lock-table.js'
import { Cut, Moment } from './parts.js'
import type { Usage } from './rows.js'
import { LeaseBar, takenText, UsageMark } from './table.js'

interface HolderPanelProps {
  readonly lock: Lock | undefined
  /** Whether the list has been read, so that no lock means that nobody holds it. */
  readonly known: boolean
  readonly now: number
  /** All locks of the holder, this one too. */
  readonly others: readonly Lock[]
  readonly navigation: Navigation
  /** Null where the key does not allow a force-release. */
  readonly onForceRelease: ((targets: readonly Target[]) => void) | null
}

/** The one holder of a resource, or none. */
export function HolderPanel({ lock, known, now, others, navigation, onForceRelease }: HolderPanelProps): VNode {
  if (lock === undefined) {
    return html`<section class="panel holder"><h3>Holder</h3><p class="none">${known ? 'Nobody holds it.' : 'unknown'}</p></section>`
  }
  const { process, lockId, lockedAt, renewals, ttlMs, metadata } = lock
  const hasMetadata = metadata !== null && metadata !== undefined && Object.keys(metadata).length > 0
  return html`<section class="panel holder">
    <h3>Holder</h3>
    <p class="who"><bdi>${process}</bdi></p>
    <dl>
      <dt>Held for</dt>
      <dd>${duration(now - lockedAt)} <span class="aside">since <${Moment} at=${lockedAt} now=${now} /></span></dd>
      <dt>Lease</dt>
      <dd class="wide"><${LeaseBar} lock=${lock} now=${now} key=${lockId} /></dd>
      <dt>Renewals</dt>
      <dd>${renewals === undefined ? '…' : renewals === 0 ? 'none' : counted(renewals, 'time')}${lease(ttlMs)}</dd>
      <dt>Fencing token</dt>
      <dd class="mono">${lockId}</dd>
      ${hasMetadata &&
      html`<dt>Metadata</dt>
        <dd class="wide"><pre>${JSON.stringify(metadata, null, 2)}</pre></dd>`}
    </dl>
    ${others.length > 1 && html`<p class="others"><a href=${navigation.hrefOf({ resource: null, filter: process })}>All ${count(others.length)} locks of this holder</a></p>`}
    ${onForceRelease !== null &&
    html`<p class="actions">
      <button type="button" class="danger" onClick=${() => onForceRelease([lock])}>Force release …</button>
      ${others.length > 1 && html`<button type="button" class="danger" onClick=${() => onForceRelease(others)}>Force release all ${count(others.length)} of this holder …</button>`}
    </p>`}
  </section>`
}

function lease(ttlMs: number | null | undefined): VNode | null {
  return ttlMs === null || ttlMs === undefined ? null : html` <span class="aside">lease of ${duration(ttlMs)}</span>`
}

/** A page shows so many holders; the table has all. */
const SHOWN = 100

interface HoldersPanelProps {
  /** All valid shares, at least one. */
  readonly grants: readonly Lock[]
  readonly usage: Usage
  readonly now: number
  readonly navigation: Navigation
  /** Null where the key does not allow a force-release. */
  readonly onForceRelease: ((targets: readonly Target[]) => void) | null
}

/** The holders of a shared resource. */
export function HoldersPanel({ grants, usage, now, navigation, onForceRelease }: HoldersPanelProps): VNode {
  const unseen = grants.length - SHOWN
  return html`<section class="panel holders">
    <h3>${counted(grants.length, 'holder')} <${UsageMark} usage=${usage} /></h3>
    <ol>
      ${grants.slice(0, SHOWN).map((lock) => html`<${ShareItem} key=${lock.key} lock=${lock} now=${now} navigation=${navigation} onForceRelease=${onForceRelease} />`)}
    </ol>
    ${unseen > 0 && html`<p class="others"><a href=${navigation.hrefOf({ resource: null, filter: grants[0]?.name ?? '' })}>and ${count(unseen)} more</a></p>`}
    ${onForceRelease !== null &&
    grants.length > 1 &&
    html`<p class="actions"><button type="button" class="danger" onClick=${() => onForceRelease(grants)}>Force release all ${count(grants.length)} holders …</button></p>`}
  </section>`
}

interface ShareItemProps extends Pick<HoldersPanelProps, 'now' | 'navigation' | 'onForceRelease'> {
  readonly lock: Lock
}

function ShareItem({ lock, now, navigation, onForceRelease }: ShareItemProps): VNode {
  const { process, share, lockedAt, renewals, ttlMs, lockId, metadata } = lock
  const hasMetadata = metadata !== null && metadata !== undefined && Object.keys(metadata).length > 0
  const rest: Partial<typeof navigation.view> = { resource: null, filter: process }
  const open = (event: MouseEvent): void => {
    if (!isPlainClick(event)) return
    event.preventDefault()
    navigation.go(rest)
  }
  return html`<li>
    <p class="who"><a href=${navigation.hrefOf(rest)} onClick=${open} title=${`All locks of ${process}`}><${Cut} text=${process} /></a></p>
    <p class="taken">${takenText(share)}</p>
    <p class="until"><${LeaseBar} lock=${lock} now=${now} /></p>
    <p class="aside">
      held for ${duration(now - lockedAt)}, since <${Moment} at=${lockedAt} now=${now} />; ${renewals === undefined ? '…' : renewals === 0 ? 'never renewed' : `renewed ${counted(renewals, 'time')}`}${ttlMs === null || ttlMs === undefined ? '' : `, lease of ${duration(ttlMs)}`}; token <span class="mono">${lockId}</span>
    </p>
    ${onForceRelease !== null && html`<button type="button" class="danger" aria-label=${`Force release ${process} …`} onClick=${() => onForceRelease([lock])}>Force release …</button>`}
    ${hasMetadata && html`<pre>${JSON.stringify(metadata)}</pre>`}
  </li>`
}
