import type { ComponentChildren, VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { html, isPlainClick, type Navigation } from './hooks.js'
import { groupOf } from './rows.js'

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000]
] as const

/** `4 s`, `12 min 30 s`, `3 h 05 min`, `2 d 4 h`: the two largest units that are not zero. */
export function duration(ms: number): string {
  const whole = Math.max(0, Math.floor(ms / 1000) * 1000)
  const first = UNITS.findIndex(([, size]) => whole >= size)
  const [unit, size] = UNITS[first] ?? ['s', 1000]
  const next = UNITS[first + 1]
  const count = Math.floor(whole / size)
  if (first < 0 || next === undefined) return `${count} ${unit}`
  const rest = Math.floor((whole % size) / next[1])
  return rest === 0 ? `${count} ${unit}` : `${count} ${unit} ${rest} ${next[0]}`
}

/** As {@link duration}, for a remaining time: rounded up, so that 0 s means none. */
export function remaining(ms: number): string {
  return duration(Math.ceil(ms / 1000) * 1000)
}

/** As {@link duration}, with tenths below ten seconds. */
export function shortDuration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds * 1000)
}

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const TENTHS = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })

/** `12,345` */
export function count(value: number): string {
  return WHOLE.format(value)
}

/** `0.4`, `12.3`, `1,204`: tenths where they matter. */
export function rate(perSecond: number): string {
  return perSecond === 0 || perSecond >= 100 ? WHOLE.format(perSecond) : TENTHS.format(perSecond)
}

/** `1 waiter`, `2 waiters` */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

/** `1–4, 7` of ascending numbers. */
export function ranges(numbers: readonly number[]): string {
  const found: [first: number, last: number][] = []
  for (const number of numbers) {
    const range = found.at(-1)
    if (range?.[1] === number - 1) range[1] = number
    else found.push([number, number])
  }
  return found.map(([first, last]) => (first === last ? count(first) : `${count(first)}–${count(last)}`)).join(', ')
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' } as const
const DAY = { day: 'numeric', month: 'short' } as const
const FORMATS = [CLOCK, { ...CLOCK, ...DAY }, { ...CLOCK, second: undefined }, { ...CLOCK, ...DAY, second: undefined }].map(
  (options) => new Intl.DateTimeFormat('en-GB', options)
)

/** In the reader's time zone; with the day where it is another than today's, to the minute where that is enough. */
function clockTime(at: number, now: number, toMinute = false): string {
  const isToday = new Date(at).toDateString() === new Date(now).toDateString()
  return FORMATS[(isToday ? 0 : 1) + (toMinute ? 2 : 0)]?.format(at) ?? ''
}

const ZONE = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' })

/** The reader's time zone at that time: `CET`, `GMT-3`, `UTC`. */
export function zoneOf(at: number): string {
  return ZONE.formatToParts(at).find(({ type }) => type === 'timeZoneName')?.value ?? ''
}

/** `2024-01-15 10:30:00.123 UTC` */
export function utcTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').replace('Z', ' UTC')
}

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

const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/

/** Quotes a text so that a POSIX shell reads exactly this text. */
export function shellWord(text: string): string {
  return PLAIN.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

export interface Snippet {
  readonly title: string
  readonly text: string
}

/**
 * Commands for one resource, to copy into a shell.
 *
 * @param base where the service is, without a slash at the end.
 * @param withKey whether calls need a key; it is named by the variable that `rlm` reads, never written out.
 * @param limit that of the shares that hold it, null for none; undefined where it is not shared.
 */
export function snippetsFor(name: string, base: string, withKey: boolean, limit?: number | null): readonly Snippet[] {
  const sharing = limit === undefined ? {} : limit === null ? { mode: 'shared' } : { limit }
  const options = limit === undefined ? '' : limit === null ? ' --shared' : ` --limit ${limit}`
  const body = JSON.stringify({ resource_name: name, process_id: 'my-process', ttl_seconds: 60, wait_seconds: 10, ...sharing })
  const curl: Snippet[] = [
    {
      title: `Take ${limit === undefined ? 'it' : 'a share'} with curl, waiting ten seconds at most`,
      text: curlPost(base, withKey, body)
    },
    { title: 'Look at it', text: `curl ${shellWord(`${base}/locks/status?resource_name=${encodeURIComponent(name)}`)}${keyHeader(withKey)}` }
  ]
  // A name that begins with a dash would be read as an option.
  const run: Snippet[] = name.startsWith('-') ? [] : [{ title: limit === undefined ? 'Run a command under this lock' : 'Run a command under a share of it', text: `RLM_URL=${shellWord(base)} rlm run ${shellWord(name)}${options} -- CMD` }]
  return [...run, ...curl]
}

/** The command to begin with, where nothing is locked. @param key what the page's own key may do. */
export function firstCommand(base: string, key: { readonly prefix: string } | null): Snippet {
  const body = JSON.stringify({ resource_name: `${key?.prefix ?? ''}my first lock`, process_id: 'me', ttl_seconds: 60 })
  return { title: 'Take a lock for a minute', text: curlPost(base, key !== null, body) }
}

function curlPost(base: string, withKey: boolean, body: string): string {
  return `curl -X POST ${shellWord(`${base}/locks/request`)}${keyHeader(withKey)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shellWord(body)}`
}

function keyHeader(withKey: boolean): string {
  return withKey ? ' -H "Authorization: Bearer $RLM_API_KEY"' : ''
}

const THANKS_MS = 1500

/** Commands to copy. */
export function Snippets({ snippets }: { readonly snippets: readonly Snippet[] }): VNode {
  return html`<section class="panel snippets">
    <h3>Use it</h3>
    ${snippets.map((snippet) => html`<${Copyable} key=${snippet.title} snippet=${snippet} />`)}
  </section>`
}

/** A command with a button that copies it. */
export function Copyable({ snippet }: { readonly snippet: Snippet }): VNode {
  const [copied, setCopied] = useState(false)
  const thank = async (copying: Promise<boolean>): Promise<void> => {
    setCopied(await copying)
    setTimeout(() => setCopied(false), THANKS_MS)
  }
  const click = (event: MouseEvent): void => {
    const code = (event.currentTarget as HTMLElement).closest('figure')?.querySelector('code')
    if (code === null || code === undefined) return
    void thank(copy(code))
  }
  return html`<figure>
    <figcaption>
      ${snippet.title}
      <button type="button" class="quiet" onClick=${click} aria-label=${`Copy: ${snippet.title}`}>${copied ? 'Copied' : 'Copy'}</button>
    </figcaption>
    <pre><code>${snippet.text}</code></pre>
  </figure>`
}

/** Over plain http a page has no clipboard API; it can still copy the selection. */
async function copy(element: HTMLElement): Promise<boolean> {
  if (isSecureContext) {
    const done = await navigator.clipboard.writeText(element.textContent ?? '').then(
      () => true,
      () => false
    )
    if (done) return true
  }
  getSelection()?.selectAllChildren(element)
  return document.execCommand('copy')
}
