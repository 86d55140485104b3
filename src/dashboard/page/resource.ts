import type { VNode } from 'preact'
import { useLayoutEffect, useState } from 'preact/hooks'
import { html } from '../html.js'
import { snippetsFor } from '../model/snippets.js'
import type { Api } from '../net/api.js'
import type { Live } from '../net/live.js'
import { ForceRelease, type Target } from './force-release.js'
import { HistoryList } from './history-list.js'
import { HolderPanel } from './holder-panel.js'
import { QueueList } from './queue-list.js'
import { Snippets } from './snippets.js'
import { isForPage, isPlainClick, useKeys, type Navigation } from './use.js'
import { useResource } from './use-resource.js'

interface ResourcePageProps {
  readonly name: string
  readonly live: Live
  readonly api: Api
  readonly base: string
  readonly withKey: boolean
  readonly navigation: Navigation
}

/** All about one resource: who has it, who waits for it, what happened to it, and how to take it. */
export function ResourcePage({ name, live, api, base, withKey, navigation }: ResourcePageProps): VNode {
  const { queue, history, more } = useResource(name, live, api)
  const [target, setTarget] = useState<Target | null>(null)
  const lock = live.table.get(name)
  const now = live.now()
  const takeAway = (): void => {
    if (lock !== undefined && live.mayForce) setTarget({ name, lockId: lock.lockId, process: lock.process })
  }
  const back = (event: Event): void => {
    event.preventDefault()
    navigation.go({ resource: null })
  }
  useKeys((event) => {
    if (!isForPage(event)) return
    if (event.key === 'Escape') back(event)
    if (event.key === 'f') {
      event.preventDefault()
      takeAway()
    }
  })
  useLayoutEffect(() => scrollTo(0, 0), [name])
  return html`<main class="resource">
    <nav>
      <a
        class="back"
        href=${navigation.hrefOf({ resource: null })}
        onClick=${(event: MouseEvent) => {
          if (isPlainClick(event)) back(event)
        }}
        >All locks</a
      >
    </nav>
    <header>
      <h2><bdi>${name}</bdi></h2>
      <span class=${`state ${lock === undefined ? 'free' : 'held'}`}>${state(live, name)}</span>
    </header>
    <div class="columns">
      <div>
        <${HolderPanel} lock=${lock} known=${live.ready} now=${now} onTakeAway=${live.mayForce ? takeAway : null} />
        <${Snippets} snippets=${snippetsFor(name, base, withKey)} />
      </div>
      <div>
        <${QueueList} queue=${queue} now=${now} />
        <${HistoryList} history=${history} now=${now} onMore=${more} />
      </div>
    </div>
    ${target !== null && html`<${ForceRelease} target=${target} live=${live} onClose=${() => setTarget(null)} />`}
  </main>`
}

function state(live: Live, name: string): string {
  if (live.table.get(name) !== undefined) return 'held'
  return live.ready ? 'free' : 'not known yet'
}
