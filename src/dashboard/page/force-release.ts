import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { LockRequestError, LockServiceUnavailableError } from '../../client/index.js'
import { html } from './hooks.js'
import { reasonOf, type Live } from './live.js'
import type { Lock } from './lock-table.js'
import { counted, Dialog } from './parts.js'

const OUTCOMES = {
  changed: 'Another lock is valid by now; nothing was changed.',
  'not-held': 'The lock had ended already; nothing was changed.'
} as const

/** A grant that was on the screen when the user decided to end it. `kept`: it has ended, and the resource is kept after it. */
export type Target = Pick<Lock, 'name' | 'lockId' | 'key' | 'process'> & { readonly kept?: true }

/** What the user is about to do. */
export interface Intent {
  readonly action: 'force-release' | 'revoke'
  /** At least one. */
  readonly targets: readonly Target[]
}

interface ForceReleaseProps extends Intent {
  readonly live: Live
  readonly onClose: () => void
}

const WORDS = {
  'force-release': { verb: 'Force release', done: 'locks were released' },
  revoke: { verb: 'Ask to release', done: 'holders were asked' }
} as const

/** A holder that renews with a usual lease learns of it in time. */
const GRACE_SECONDS = 60

/** How many names a dialog shows, and how many releases are under way at once. */
const SHOWN = 6
const AT_ONCE = 8

/** Ends exactly the grants that were on the screen, at once or after a grace, after the user has given a reason and typed the name, or how many they are. */
export function ForceRelease({ action, targets, live, onClose }: ForceReleaseProps): VNode {
  const [typed, setTyped] = useState('')
  const [reason, setReason] = useState('')
  const [grace, setGrace] = useState(String(GRACE_SECONDS))
  const [done, setDone] = useState<number | null>(null)
  const [refusal, setRefusal] = useState<string | null>(null)
  const [only] = targets.length === 1 ? targets : []
  const { verb, done: was } = WORDS[action]
  const graceSeconds = action === 'revoke' ? Number(grace) : null
  const gone = targets.filter((target) => target.kept !== true && !live.table.has(target)).length
  const password = only?.name ?? String(targets.length)
  const ready = typed === password && reason.trim() !== '' && (graceSeconds === null || (grace.trim() !== '' && graceSeconds >= 0)) && done === null
  const submit = (event: Event): void => {
    event.preventDefault()
    if (!ready) return
    setRefusal(null)
    setDone(0)
    void endAll(targets, ({ name, lockId }) => live.end(name, lockId, reason.trim(), graceSeconds), was, setDone).then((faults) => {
      if (faults === null) return onClose()
      setDone(null)
      setRefusal(faults)
    })
  }
  return html`<${Dialog} title=${only === undefined ? `${verb} ${targets.length} locks` : verb} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${only === undefined ? html`<${Several} action=${action} targets=${targets} />` : html`<${Single} action=${action} target=${only} />`}
      ${gone > 0 &&
      refusal === null &&
      done === null &&
      html`<p class="warn" role="alert">
        ${only === undefined ? `${counted(gone, 'lock')} of these ended meanwhile. Later ones` : 'This lock has ended meanwhile. A later one'} will not be touched.
      </p>`}
      <label>
        <span>Reason, for the history</span>
        <input name="reason" required maxlength="500" autocomplete="off" autofocus value=${reason} onInput=${(event: Event) => setReason(valueOf(event))} />
      </label>
      ${graceSeconds !== null &&
      html`<label>
        <span>Grace, in seconds</span>
        <input name="grace" type="number" min="0" step="any" required value=${grace} onInput=${(event: Event) => setGrace(valueOf(event))} />
      </label>`}
      <label>
        <span>Type <code><bdi>${password}</bdi></code> to confirm</span>
        <input name="confirm" required autocomplete="off" autocapitalize="off" spellcheck=${false} value=${typed} onInput=${(event: Event) => setTyped(valueOf(event))} />
      </label>
      ${refusal !== null && html`<p class="warn" role="alert">${refusal}</p>`}
      ${done !== null && targets.length > AT_ONCE && html`<p role="status">${done} of ${targets.length} …</p>`}
      <p class="actions">
        <button type="button" class="quiet" onClick=${onClose}>${refusal === null ? 'Cancel' : 'Close'}</button>
        <button type="submit" class=${action === 'revoke' ? 'primary' : 'danger'} disabled=${!ready}>${verb}</button>
      </p>
    </form>
  <//>`
}

const UNTOLD = 'not told before the next renewal: what it is doing goes on unless the fencing token stops it.'

const ASKED = 'Its next renewal tells a holder; when the grace is over, the lock ends whatever the holder does.'

function Single({ action, target: { lockId, process, kept } }: { readonly action: Intent['action']; readonly target: Target }): VNode {
  const holder = html`<b><bdi>${process}</bdi></b>`
  const lock = html`lock <span class="mono">${lockId}</span>`
  if (kept === true) return html`<p>Frees the resource, which is kept after ${lock} of ${holder}.</p>`
  if (action === 'revoke') return html`<p>Asks ${holder} to release ${lock}. ${ASKED}</p>`
  return html`<p>Takes ${lock} away from ${holder}. It is ${UNTOLD}</p>`
}

function Several({ action, targets }: Intent): VNode {
  const holders = new Set(targets.map(({ process }) => process))
  const [holder = ''] = holders
  const from = holders.size === 1 ? html`<b><bdi>${holder}</bdi></b>` : html`<b>${holders.size} holders</b>`
  return html`<p>${action === 'revoke' ? html`Asks ${from} to release these locks. ${ASKED}` : html`Takes these locks away from ${from}. Each is ${UNTOLD}`}</p>
    <ul class="targets">
      ${targets.slice(0, SHOWN).map(({ key, name, process }) => html`<li key=${key}><bdi>${name}</bdi>${holders.size > 1 && html` <span class="aside"><bdi>${process}</bdi></span>`}</li>`)}
      ${targets.length > SHOWN && html`<li>and ${targets.length - SHOWN} more</li>`}
    </ul>`
}

/**
 * Ends them, some at once, and stops after a failure that would meet the others too.
 *
 * @param was what then was done to them.
 * @returns what was not done and why, as sentences; null where all was done.
 */
async function endAll(
  targets: readonly Target[],
  end: (target: Target) => ReturnType<Live['end']>,
  was: string,
  onProgress: (done: number) => void
): Promise<string | null> {
  const spared = { changed: 0, 'not-held': 0 }
  let ended = 0
  const faults: string[] = []
  for (let from = 0; from < targets.length && faults.length === 0; from += AT_ONCE) {
    const some = targets.slice(from, from + AT_ONCE)
    await Promise.all(
      some.map((target) =>
        end(target).then(
          ({ kind }) => {
            if (kind === 'changed' || kind === 'not-held') spared[kind] += 1
            else ended += 1
          },
          (error: unknown) => {
            faults.push(wordsFor(error))
          }
        )
      )
    )
    onProgress(from + some.length)
  }
  const [fault] = faults
  if (ended === targets.length) return null
  if (targets.length === 1) return fault ?? OUTCOMES[spared.changed > 0 ? 'changed' : 'not-held']
  const before = spared.changed + spared['not-held']
  return [`${ended} of ${targets.length} ${was}.`, before > 0 && `${before} had ended already.`, fault].filter(Boolean).join(' ')
}

function valueOf(event: Event): string {
  return (event.currentTarget as HTMLInputElement).value
}

function wordsFor(error: unknown): string {
  const status = error instanceof LockRequestError ? error.status : undefined
  if (status === 403) return 'Your key does not allow this; nothing was changed.'
  if (status === 401) return 'The service wants a key first; nothing was changed.'
  if (status === 404) return OUTCOMES['not-held']
  if (status === 422) return 'The reason has characters that the history does not take, or the grace is longer than any lease; nothing was changed.'
  if (status === undefined && !(error instanceof LockServiceUnavailableError)) return 'The answer cannot be read; look whether the lock is still held.'
  return `${reasonOf(error)}. Look whether the lock is still held.`
}
