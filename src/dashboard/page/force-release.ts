import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { LockRequestError, LockServiceUnavailableError } from '../../client/index.js'
import { Dialog, html } from './hooks.js'
import { reasonOf, type Live } from './live.js'

const OUTCOMES = {
  changed: 'Another lock is valid by now; nothing was changed.',
  'not-held': 'The lock had ended already; nothing was changed.'
} as const

/** The grant that was on the screen when the user decided to release it. */
export interface Target {
  readonly name: string
  readonly lockId: number
  readonly process: string
}

interface ForceReleaseProps {
  readonly target: Target
  readonly live: Live
  readonly onClose: () => void
}

/** Releases exactly the grant that was on the screen, after the user has typed its name and a reason. */
export function ForceRelease({ target, live, onClose }: ForceReleaseProps): VNode {
  const [typed, setTyped] = useState('')
  const [reason, setReason] = useState('')
  const [sending, setSending] = useState(false)
  const [refusal, setRefusal] = useState<string | null>(null)
  const changed = live.table.get(target.name)?.lockId !== target.lockId
  const ready = typed === target.name && reason.trim() !== '' && !sending
  const submit = (event: Event): void => {
    event.preventDefault()
    if (!ready) return
    setSending(true)
    const refuse = (words: string): void => {
      setSending(false)
      setRefusal(words)
    }
    live.forceRelease(target.name, target.lockId, reason.trim()).then(
      ({ kind }) => (kind === 'released' ? onClose() : refuse(OUTCOMES[kind])),
      (error: unknown) => refuse(wordsFor(error))
    )
  }
  return html`<${Dialog} title="Force release" onClose=${onClose}>
    <form onSubmit=${submit}>
      <p>
        Takes lock <span class="mono">${target.lockId}</span> away from <b><bdi>${target.process}</bdi></b>. It is not told before its next renewal: what it is
        doing goes on unless the fencing token stops it.
      </p>
      ${changed && html`<p class="warn" role="alert">This lock has ended meanwhile. A later one will not be touched.</p>`}
      <label>
        <span>Reason, for the history</span>
        <input name="reason" required maxlength="500" autocomplete="off" autofocus value=${reason} onInput=${(event: Event) => setReason(valueOf(event))} />
      </label>
      <label>
        <span>Type <code><bdi>${target.name}</bdi></code> to confirm</span>
        <input name="confirm" required autocomplete="off" autocapitalize="off" spellcheck=${false} value=${typed} onInput=${(event: Event) => setTyped(valueOf(event))} />
      </label>
      ${refusal !== null && html`<p class="warn" role="alert">${refusal}</p>`}
      <p class="actions">
        <button type="button" class="quiet" onClick=${onClose}>Cancel</button>
        <button type="submit" class="danger" disabled=${!ready}>Force release</button>
      </p>
    </form>
  <//>`
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
