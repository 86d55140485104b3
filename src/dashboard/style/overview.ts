/** The figures, what to look at first, the filter. */
export const OVERVIEW = `
.cards { display: grid; grid-template-columns: repeat(6, 1fr); gap: 1px; overflow: hidden; border: 1px solid var(--line); border-radius: 10px; background: var(--line) }
.card { position: relative; min-width: 0; padding: 13px 16px 0; background: var(--surface) }
.card .figure, .card .absent { height: 36px; line-height: 36px; white-space: nowrap }
.card .figure { font-size: 25px; font-weight: 600; letter-spacing: -.02em }
.card .absent { font-size: 15px; color: var(--faint) }
.spark { display: block; width: calc(100% + 32px); height: 30px; margin: 3px -16px 0; overflow: visible }
.spark path { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; vector-effect: non-scaling-stroke }
.spark .under { fill: var(--accent-soft); stroke: none }
.spark .end { stroke-width: 5; stroke-linecap: round }
.attention { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 20px 28px; padding: 22px 16px 20px }
.attention .panel { min-width: 0 }
.attention h3 { margin-bottom: 6px }
.attention .more, .queue .more { font-weight: 400; color: var(--faint) }
.attention li { display: flex; align-items: baseline; justify-content: space-between; gap: 14px; padding: 2px 0 }
.attention .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0 }
.attention .note { flex: none; color: var(--soft); font-size: 13px }
.attention .note b { font-weight: 550; color: var(--ink) }
.attention .note b.warn { color: var(--warn) }
.toolbar { position: sticky; top: 0; z-index: 2; display: flex; align-items: center; gap: 16px; height: 56px; background: var(--ground) }
.filter { position: relative; flex: 0 1 420px }
.filter kbd { position: absolute; right: 10px; top: 50%; transform: translateY(-50%); pointer-events: none }
.filter:focus-within kbd { display: none }
.total { margin-left: auto; color: var(--soft); white-space: nowrap }
@media (max-width: 1020px) {
  .cards { grid-template-columns: repeat(3, 1fr) }
}
@media (max-width: 720px) {
  .card { padding: 10px 12px 0 }
  .card .figure { font-size: 20px }
  .card .absent { font-size: 14px }
  .spark { width: calc(100% + 24px); margin: 0 -12px; height: 24px }
  .attention { padding: 18px 2px 12px }
  .filter { flex: 1 }
  .filter kbd { display: none }
}
`
