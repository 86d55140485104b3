import type { VNode } from 'preact'
import type { Status } from '../../client/index.js'
import type { Intent, Target } from './force-release.js'
import { html, isPlainClick, type Navigation } from './hooks.js'
import type { Lock } from './lock-table.js'
import { count, counted, duration, remaining, Cut, Moment } from './parts.js'
import type { Usage } from './rows.js'
import { LeaseBar, takenText, UsageMark } from './table.js'

/** Null where the key does not allow to end the locks of others. */
type OnIntent = ((intent: Intent) => void) | null

interface HolderPanelProps {
  readonly lock: Lock | undefined
  /** The lock after which it is kept, where nobody holds it. */
  readonly kept: Status | undefined
  /** Whether the list has been read, so that no lock means that nobody holds it. */
  readonly known: boolean
  readonly now: number
  /** All locks of the holder, this one too. */
  readonly others: readonly Lock[]
  readonly navigation: Navigation
  readonly onIntent: OnIntent
}

/** The one holder of a resource, or none. */
export function HolderPanel({ lock, kept, known, now, others, navigation, onIntent }: HolderPanelProps): VNode {
  if (lock === undefined && kept !== undefined) return html`<${KeptPanel} kept=${kept} now=${now} onIntent=${onIntent} />`
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
    ${onIntent !== null &&
    html`<p class="actions">
      <button type="button" class="ask" onClick=${() => onIntent({ action: 'revoke', targets: [lock] })}>Ask to release …</button>
      <button type="button" class="danger" onClick=${() => onIntent({ action: 'force-release', targets: [lock] })}>Force release …</button>
      ${others.length > 1 &&
      html`<button type="button" class="danger" onClick=${() => onIntent({ action: 'force-release', targets: others })}>Force release all ${count(others.length)} of this holder …</button>`}
    </p>`}
  </section>`
}

function lease(ttlMs: number | null | undefined): VNode | null {
  return ttlMs === null || ttlMs === undefined ? null : html` <span class="aside">lease of ${duration(ttlMs)}</span>`
}

interface KeptPanelProps extends Pick<HolderPanelProps, 'now' | 'onIntent'> {
  readonly kept: Status
}

/** A resource that nobody holds and nobody gets yet. */
function KeptPanel({ kept, now, onIntent }: KeptPanelProps): VNode {
  const { resourceName: name, lockedBy, lockId, expiresAt } = kept
  const until = expiresAt?.getTime() ?? now
  const target: Target = { name, lockId: lockId ?? 0, key: '', process: lockedBy ?? '', kept: true }
  return html`<section class="panel holder">
    <h3>Holder</h3>
    <p class="none">Nobody holds it. After lock <span class="mono">${lockId}</span> of <bdi>${lockedBy}</bdi> it is kept: nobody gets it before <${Moment} at=${until} now=${now} />, in ${remaining(until - now)}.</p>
    ${onIntent !== null &&
    html`<p class="actions"><button type="button" class="danger" onClick=${() => onIntent({ action: 'force-release', targets: [target] })}>Force release …</button></p>`}
  </section>`
}

/** A page shows so many holders; the table has all. */
const SHOWN = 100

interface HoldersPanelProps {
  /** All valid shares, at least one. */
  readonly grants: readonly Lock[]
  readonly usage: Usage
  readonly now: number
  readonly navigation: Navigation
  readonly onIntent: OnIntent
}

/** The holders of a shared resource. */
export function HoldersPanel({ grants, usage, now, navigation, onIntent }: HoldersPanelProps): VNode {
  const unseen = grants.length - SHOWN
  return html`<section class="panel holders">
    <h3>${counted(grants.length, 'holder')} <${UsageMark} usage=${usage} /></h3>
    <ol>
      ${grants.slice(0, SHOWN).map((lock) => html`<${ShareItem} key=${lock.key} lock=${lock} now=${now} navigation=${navigation} onIntent=${onIntent} />`)}
    </ol>
    ${unseen > 0 && html`<p class="others"><a href=${navigation.hrefOf({ resource: null, filter: grants[0]?.name ?? '' })}>and ${count(unseen)} more</a></p>`}
    ${onIntent !== null &&
    grants.length > 1 &&
    html`<p class="actions">
      <button type="button" class="ask" onClick=${() => onIntent({ action: 'revoke', targets: grants })}>Ask all ${count(grants.length)} to release …</button>
      <button type="button" class="danger" onClick=${() => onIntent({ action: 'force-release', targets: grants })}>Force release all ${count(grants.length)} holders …</button>
    </p>`}
  </section>`
}

interface ShareItemProps extends Pick<HoldersPanelProps, 'now' | 'navigation' | 'onIntent'> {
  readonly lock: Lock
}

function ShareItem({ lock, now, navigation, onIntent }: ShareItemProps): VNode {
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
    ${onIntent !== null &&
    html`<p class="ends">
      <button type="button" class="ask" aria-label=${`Ask ${process} to release …`} onClick=${() => onIntent({ action: 'revoke', targets: [lock] })}>Ask …</button>
      <button type="button" class="danger" aria-label=${`Force release ${process} …`} onClick=${() => onIntent({ action: 'force-release', targets: [lock] })}>Force release …</button>
    </p>`}
    ${hasMetadata && html`<pre>${JSON.stringify(metadata)}</pre>`}
  </li>`
}
