import type { VNode } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { Cards } from './figures.js'
import { ForceRelease, type Intent } from './force-release.js'
import { html, isForPage, useKeys, type Navigation } from './hooks.js'
import type { Live } from './live.js'
import { exported, NEAR_END, shareLeft, type Lock } from './lock-table.js'
import { count, counted, duration, remaining, ResourceLink, Copyable, firstCommand } from './parts.js'
import { filterLocks, groupOf, SORTS } from './rows.js'
import { COLUMNS, Table, type Selection } from './table.js'

interface OverviewProps {
  readonly live: Live
  readonly base: string
  readonly navigation: Navigation
}

/** The figures, the notable locks, and the table of all locks. */
export function Overview({ live, base, navigation }: OverviewProps): VNode {
  const { view } = navigation
  const { locks } = live.table
  const now = live.now()
  const { ready } = live
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set())
  const [intent, setIntent] = useState<Intent | null>(null)
  const matching = useMemo(() => filterLocks(locks, view.filter), [locks, view.filter])
  // A grant that has ended is no longer picked.
  const chosen = useMemo(() => locks.filter(({ key }) => picked.has(key)), [locks, picked])
  const selection: Selection = {
    has: ({ key }) => picked.has(key),
    set: (some, pick) => {
      const next = new Set(picked)
      for (const { key } of some) {
        if (pick) next.add(key)
        else next.delete(key)
      }
      setPicked(next)
    }
  }
  return html`<main>
    <${Cards} figures=${live.figures} held=${ready ? locks.length : undefined} now=${now} />
    <${AttentionList} locks=${locks} known=${live.known} now=${now} navigation=${navigation} />
    <div class="toolbar">
      <${Filter} navigation=${navigation} />
      <span class="total" role="status"
        >${!ready ? 'unknown' : view.filter.trim() === '' ? counted(locks.length, 'lock') : `${count(matching.length)} of ${counted(locks.length, 'lock')}`}</span
      >
      ${chosen.length === 0
        ? html`<button type="button" class="quiet" disabled=${matching.length === 0} onClick=${() => download(live, base, view.filter, matching)}>Export JSON</button>`
        : html`<span class="chosen">
            <span role="status">${count(chosen.length)} picked</span>
            <button type="button" class="ask" disabled=${!live.mayForce} onClick=${() => setIntent({ action: 'revoke', targets: chosen })}>Ask to release …</button>
            <button type="button" class="danger" disabled=${!live.mayForce} onClick=${() => setIntent({ action: 'force-release', targets: chosen })}>Force release …</button>
            <button type="button" class="quiet" onClick=${() => setPicked(new Set())}>Clear</button>
          </span>`}
    </div>
    <${Table} locks=${locks} now=${now} navigation=${navigation} selection=${live.mayForce ? selection : null} />
    ${matching.length === 0 && html`<${Emptiness} live=${live} base=${base} filter=${view.filter} />`}
    ${intent !== null && html`<${ForceRelease} ...${intent} live=${live} onClose=${() => setIntent(null)} />`}
  </main>`
}

/** What the table is narrowed to, and on narrow screens, where it has no headings, how it is sorted. */
function Filter({ navigation: { view, go } }: Pick<OverviewProps, 'navigation'>): VNode {
  const input = useRef<HTMLInputElement>(null)
  useKeys((event) => {
    if (event.key !== '/' || !isForPage(event)) return
    event.preventDefault()
    input.current?.select()
  })
  const leave = (event: KeyboardEvent): void => {
    if (event.key !== 'Escape') return
    event.preventDefault()
    go({ filter: '' }, 'replace')
    input.current?.blur()
  }
  const sort = (event: Event): void => {
    const { value } = event.currentTarget as HTMLSelectElement
    go({ sort: SORTS.find((known) => known === value) ?? 'name' }, 'replace')
  }
  return html`<label class="filter">
      <span class="hidden">Filter by resource, holder or metadata</span>
      <input
        ref=${input}
        type="search"
        placeholder="Filter by resource, holder or metadata"
        autocomplete="off"
        spellcheck=${false}
        value=${view.filter}
        onInput=${(event: Event) => go({ filter: (event.currentTarget as HTMLInputElement).value }, 'replace')}
        onKeyDown=${leave}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
    <label class="sort">
      <span class="hidden">Sort by</span>
      <select onChange=${sort} value=${view.sort}>
        ${COLUMNS.map(({ sort: column, title }) => html`<option key=${column} value=${column}>${title}</option>`)}
      </select>
    </label>`
}

interface EmptinessProps {
  readonly live: Live
  readonly base: string
  readonly filter: string
}

/** Why the table has no rows: nothing is known, nothing matches, or nothing is locked, and then how to change that. */
function Emptiness({ live, base, filter }: EmptinessProps): VNode {
  const { table, ready, access, about } = live
  const total = table.locks.length
  if (!ready) return html`<div class="empty"><p>${access === 'open' ? 'Not known yet.' : 'Unknown: the service shows the locks only to a key that may read them.'}</p></div>`
  if (total > 0) return html`<div class="empty"><p>None of ${counted(total, 'lock')} has “${filter}” in its name, holder or metadata.</p></div>`
  const key = about?.key ?? null
  return html`<div class="empty">
    <p>Nothing is locked.</p>
    ${(key === null || key.scopes.some((scope) => scope !== 'read')) &&
    html`<p class="aside">Take a lock from a shell and see it appear here:</p>
      <${Copyable} snippet=${firstCommand(base, key)} />`}
  </div>`
}

/** Saves the locks that are shown as a file. */
function download(live: Live, base: string, filter: string, locks: readonly Lock[]): void {
  const facts = { service: base, database: live.about?.database ?? null, as_of: new Date(live.now()).toISOString(), filter: filter === '' ? null : filter }
  const content = JSON.stringify({ ...facts, total: locks.length, locks: locks.map(exported) }, null, 2)
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([`${content}\n`], { type: 'application/json' }))
  link.download = `locks-${facts.as_of.replaceAll(/[:.]/g, '-')}.json`
  link.click()
  URL.revokeObjectURL(link.href)
}

interface AttentionProps {
  readonly locks: readonly Lock[]
  /** Whether the list has been read. */
  readonly known: boolean
  readonly now: number
  readonly navigation: Navigation
}

const SHOWN = 4

/** The locks that an operator should see first. */
function AttentionList({ locks, known, now, navigation }: AttentionProps): VNode {
  // Once a second is enough, however many events there are, since it reads every lock.
  const { waitedFor, long, expiring } = useMemo(() => attention(locks, now), [Math.floor(now / 1000), locks.length > 0])
  const say = (notable: Notable): VNode => sentence(notable, now)
  const panel = (title: string, none: string, all: readonly Notable[]): VNode => html`<div class="panel">
    <h2>${title}${all.length > SHOWN && html` <span class="more">${SHOWN} of ${all.length}</span>`}</h2>
    ${all.length === 0
      ? html`<p class="none">${known ? none : 'unknown'}</p>`
      : html`<ol>
          ${all.slice(0, SHOWN).map(
            (notable) => html`<li key=${notable.lock.key}>
              <${ResourceLink} name=${notable.lock.name} navigation=${navigation} />
              <span class="note">${say(notable)}</span>
            </li>`
          )}
        </ol>`}
  </div>`
  return html`<section class="attention" aria-label="Look here first">
    ${panel('Most waited for', 'Nobody waits.', waitedFor)} ${panel('Held unusually long', 'Nothing stands out.', long)}
    ${panel('Expiring without renewal', 'Nothing is about to run out.', expiring)}
  </section>`
}

function sentence({ lock, note, measure }: Notable, now: number): VNode {
  if (note === 'waited-for') return html`<b>${counted(measure ?? 0, 'waiter')}</b>`
  if (note === 'long') return html`<b>${duration(now - lock.lockedAt)}</b>${measure !== undefined && `, ${count(Math.floor(measure))} × the usual`}`
  const renewed = (lock.renewals ?? 0) > 0 ? `renewed ${lock.renewals} ×, no more` : 'never renewed'
  return html`<b class="warn">${remaining((lock.expiresAt ?? now) - now)} left</b>, ${renewed}`
}

/** A lock is held unusually long from this many times the median age of its group, and never before the least age. */
const UNUSUAL_TIMES = 8
const UNUSUAL_LEAST_MS = 60_000
/** A smaller group has no meaningful median; its locks are held unusually long from this age. */
const FEWEST_FOR_MEDIAN = 5
const LONG_MS = 15 * 60_000

interface Notable {
  readonly lock: Lock
  readonly note: 'waited-for' | 'long' | 'expiring'
  /** Waiters; times the median age of its group, undefined where there is no median; the share of the lease that is left. */
  readonly measure: number | undefined
}

export interface Attention {
  readonly waitedFor: readonly Notable[]
  readonly long: readonly Notable[]
  readonly expiring: readonly Notable[]
}

/** What an operator should look at first, each list with the worst on top. @param now by the database's clock. */
export function attention(locks: readonly Lock[], now: number): Attention {
  const medianOf = medians(locks, now)
  const waitedFor: Notable[] = []
  const long: Notable[] = []
  const expiring: Notable[] = []
  for (const lock of locks) {
    if ((lock.waiters ?? 0) > 0) waitedFor.push({ lock, note: 'waited-for', measure: lock.waiters })
    const age = now - lock.lockedAt
    const median = medianOf(lock.name)
    const times = median === undefined ? undefined : age / Math.max(1, median)
    if (times === undefined ? age >= LONG_MS : age >= UNUSUAL_LEAST_MS && times >= UNUSUAL_TIMES) long.push({ lock, note: 'long', measure: times })
    const left = shareLeft(lock, now)
    if (left !== undefined && left > 0 && left <= NEAR_END) expiring.push({ lock, note: 'expiring', measure: left })
  }
  return {
    waitedFor: oncePerName(waitedFor.toSorted((a, b) => (b.measure ?? 0) - (a.measure ?? 0))),
    long: oncePerName(long.toSorted((a, b) => a.lock.lockedAt - b.lock.lockedAt)),
    // Locks that were renewed before come first: their holders may have died.
    expiring: oncePerName(
      expiring.toSorted((a, b) => Number((b.lock.renewals ?? 0) > 0) - Number((a.lock.renewals ?? 0) > 0) || (a.lock.expiresAt ?? 0) - (b.lock.expiresAt ?? 0))
    )
  }
}

/** Of a shared resource the holder that comes first. */
function oncePerName(sorted: readonly Notable[]): readonly Notable[] {
  const first = new Map<string, Notable>()
  for (const notable of sorted) if (!first.has(notable.lock.name)) first.set(notable.lock.name, notable)
  return [...first.values()]
}

/** The median age of the group of a name; undefined where there is none. */
function medians(locks: readonly Lock[], now: number): (name: string) => number | undefined {
  const ages = new Map<string, number[]>()
  for (const { name, lockedAt } of locks) {
    const group = groupOf(name)
    const known = ages.get(group)
    if (known === undefined) ages.set(group, [now - lockedAt])
    else known.push(now - lockedAt)
  }
  const ofGroup = new Map([...ages].map(([group, some]) => [group, some.length < FEWEST_FOR_MEDIAN ? undefined : median(some)]))
  // Names without a prefix have nothing in common.
  return (name) => (groupOf(name) === '' ? undefined : ofGroup.get(groupOf(name)))
}

function median(ages: readonly number[]): number {
  return ages.toSorted((a, b) => a - b)[Math.floor(ages.length / 2)] ?? 0
}
