import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { LockRequestError, LockServiceUnavailableError } from '../../client/index.js'
import { counted } from './format.js'
import { html } from './hooks.js'
import { reasonOf, type Live } from './live.js'
import type { Lock } from './lock-table.js'
import { Dialog } from './parts.js'

const OUTCOMES = {
  changed: 'Another lock is valid by now; nothing was changed.',
  'not-held': 'The lock had ended already; nothing was changed.'
} as const

/** A grant that was on the screen when the user decided to release it. */
export type Target = Pick<Lock, 'name' | 'lockId' | 'key' | 'process'>

interface ForceReleaseProps {
  /** At least one. */
  readonly targets: readonly Target[]
  readonly live: Live
  readonly onClose: () => void
}

/** How many names a dialog shows, and how many releases are under way at once. */
const SHOWN = 6
const AT_ONCE = 8

/** Releases exactly the grants that were on the screen, after the user has given a reason and typed the name, or how many they are. */
export function ForceRelease({ targets, live, onClose }: ForceReleaseProps): VNode {
  const [typed, setTyped] = useState('')
  const [reason, setReason] = useState('')
  const [done, setDone] = useState<number | null>(null)
  const [refusal, setRefusal] = useState<string | null>(null)
  const [only] = targets.length === 1 ? targets : []
  const gone = targets.filter((target) => !live.table.has(target)).length
  const password = only?.name ?? String(targets.length)
  const ready = typed === password && reason.trim() !== '' && done === null
  const submit = (event: Event): void => {
    event.preventDefault()
    if (!ready) return
    setRefusal(null)
    setDone(0)
    void releaseAll(targets, live, reason.trim(), setDone).then((faults) => {
      if (faults === null) return onClose()
      setDone(null)
      setRefusal(faults)
    })
  }
  return html`<${Dialog} title=${only === undefined ? `Force release ${targets.length} locks` : 'Force release'} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${only === undefined ? html`<${Several} targets=${targets} />` : html`<${Single} target=${only} />`}
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
      <label>
        <span>Type <code><bdi>${password}</bdi></code> to confirm</span>
        <input name="confirm" required autocomplete="off" autocapitalize="off" spellcheck=${false} value=${typed} onInput=${(event: Event) => setTyped(valueOf(event))} />
      </label>
      ${refusal !== null && html`<p class="warn" role="alert">${refusal}</p>`}
      ${done !== null && targets.length > AT_ONCE && html`<p role="status">${done} of ${targets.length} …</p>`}
      <p class="actions">
        <button type="button" class="quiet" onClick=${onClose}>${refusal === null ? 'Cancel' : 'Close'}</button>
        <button type="submit" class="danger" disabled=${!ready}>Force release</button>
      </p>
    </form>
  <//>`
}

const UNTOLD = 'not told before the next renewal: what it is doing goes on unless the fencing token stops it.'

function Single({ target: { lockId, process } }: { readonly target: Target }): VNode {
  return html`<p>Takes lock <span class="mono">${lockId}</span> away from <b><bdi>${process}</bdi></b>. It is ${UNTOLD}</p>`
}

function Several({ targets }: { readonly targets: readonly Target[] }): VNode {
  const holders = new Set(targets.map(({ process }) => process))
  const [holder = ''] = holders
  const from = holders.size === 1 ? html`<b><bdi>${holder}</bdi></b>` : html`<b>${holders.size} holders</b>`
  return html`<p>Takes these locks away from ${from}. Each is ${UNTOLD}</p>
    <ul class="targets">
      ${targets.slice(0, SHOWN).map(({ key, name, process }) => html`<li key=${key}><bdi>${name}</bdi>${holders.size > 1 && html` <span class="aside"><bdi>${process}</bdi></span>`}</li>`)}
      ${targets.length > SHOWN && html`<li>and ${targets.length - SHOWN} more</li>`}
    </ul>`
}

/**
 * Releases them, some at once, and stops after a failure that would meet the others too.
 *
 * @returns what was not released and why, as sentences; null where all were.
 */
async function releaseAll(targets: readonly Target[], live: Live, reason: string, onProgress: (done: number) => void): Promise<string | null> {
  const spared = { changed: 0, 'not-held': 0 }
  let released = 0
  const faults: string[] = []
  for (let from = 0; from < targets.length && faults.length === 0; from += AT_ONCE) {
    const some = targets.slice(from, from + AT_ONCE)
    await Promise.all(
      some.map(({ name, lockId }) =>
        live.forceRelease(name, lockId, reason).then(
          ({ kind }) => {
            if (kind === 'released') released += 1
            else spared[kind] += 1
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
  if (released === targets.length) return null
  if (targets.length === 1) return fault ?? OUTCOMES[spared.changed > 0 ? 'changed' : 'not-held']
  const ended = spared.changed + spared['not-held']
  return [`${released} of ${targets.length} locks were released.`, ended > 0 && `${ended} had ended already.`, fault].filter(Boolean).join(' ')
}

function valueOf(event: Event): string {
  return (event.currentTarget as HTMLInputElement).value
}

function wordsFor(error: unknown): string {
  const status = error instanceof LockRequestError ? error.status : undefined
  if (status === 403) return 'Your key does not allow this; nothing was changed.'
  if (status === 401) return 'The service wants a key first; nothing was changed.'
  if (status === 404) return OUTCOMES['not-held']
  if (status === 422) return 'The reason has characters that the history does not take; nothing was changed.'
  if (status === undefined && !(error instanceof LockServiceUnavailableError)) return 'The answer cannot be read; look whether the lock is still held.'
  return `${reasonOf(error)}. Look whether the lock is still held.`
}
