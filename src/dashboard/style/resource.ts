/** The page of one resource. */
export const RESOURCE = `
.resource nav { margin-bottom: 8px; color: var(--soft) }
.resource .back::before { content: "← "; }
.resource > header { display: flex; align-items: baseline; gap: 14px; margin-bottom: 20px }
.resource > header h2 { font-size: 24px; font-weight: 650; letter-spacing: -.02em; overflow-wrap: anywhere }
.state { flex: none; padding: 1px 10px; border-radius: 11px; background: var(--line); color: var(--soft); font-size: 13px; font-weight: 550 }
.state.held { background: var(--accent-soft); color: var(--accent) }
.resource .columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px; align-items: start }
.resource .columns > div { display: grid; gap: 16px; min-width: 0 }
.resource .panel { min-width: 0; padding: 16px 18px 18px; border: 1px solid var(--line); border-radius: 10px; background: var(--surface) }
.resource .panel > h3 { margin-bottom: 8px }
.holder .who { font-size: 17px; font-weight: 550; margin-bottom: 12px; overflow-wrap: anywhere }
.holder dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 7px 20px; align-items: baseline }
.holder dt { color: var(--soft) }
.holder dd .aside { margin-left: 6px }
.holder dd .lease .left { width: auto; min-width: 76px }
.holder pre { max-height: 220px; overflow: auto; padding: 8px 10px; border-radius: 6px; background: var(--ground); white-space: pre-wrap; overflow-wrap: anywhere }
.holder button.danger { margin-top: 16px }
.snippets figure + figure { margin-top: 12px }
.snippets figcaption { display: flex; align-items: center; justify-content: space-between; color: var(--soft) }
.snippets pre { padding: 9px 12px; border-radius: 7px; background: var(--ground); white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55 }
.queue li, .history li { display: grid; align-items: baseline; column-gap: 12px; padding: 4px 0 }
.queue li + li, .history li + li { border-top: 1px solid var(--line) }
.queue li { grid-template-columns: 26px minmax(0, 1fr) max-content }
.queue .place { color: var(--faint); text-align: right }
.queue .who, .history .who { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.queue li:first-child .place { color: var(--accent); font-weight: 600 }
.history ol { display: grid; grid-template-columns: max-content max-content max-content minmax(0, 1fr) }
.history li { grid-column: 1 / -1; grid-template-columns: subgrid }
.history time, .history .token { color: var(--faint) }
.history .what { font-weight: 550 }
.history .renewed .what { font-weight: 400; color: var(--soft) }
.history .expired .what { color: var(--warn) }
.history .force_released .what { color: var(--danger) }
.history q { grid-column: 2 / -1; color: var(--soft); overflow-wrap: anywhere }
.history .quiet { margin: 8px 0 -6px -10px }
@media (max-width: 860px) {
  .resource .columns { grid-template-columns: minmax(0, 1fr) }
}
`
