/** Buttons, fields, dialogs. */
export const CONTROLS = `
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
button.quiet, button.primary, button.danger { padding: 5px 10px; border-radius: 6px }
button.quiet { color: var(--soft) }
button.quiet:hover { background: var(--hover); color: var(--ink) }
button.primary { background: var(--accent); color: var(--surface); font-weight: 550 }
button.danger { border: 1px solid var(--line-strong); color: var(--danger); font-weight: 550 }
button.danger:hover:enabled { background: var(--danger-soft); border-color: var(--danger) }
button[type=submit].danger:enabled { background: var(--danger); border-color: var(--danger); color: var(--surface) }
button:disabled { opacity: .45; cursor: default }
input {
  width: 100%;
  font: inherit;
  color: inherit;
  background: var(--surface);
  border: 1px solid var(--line-strong);
  border-radius: 7px;
  padding: 7px 11px;
}
input::placeholder { color: var(--faint) }
input:focus { outline: 2px solid var(--accent); outline-offset: -1px; border-color: transparent }
input::-webkit-search-cancel-button { display: none }
kbd { padding: 0 5px; border: 1px solid var(--line-strong); border-radius: 4px; font-size: 11px; line-height: 16px; color: var(--soft) }
dialog {
  width: min(460px, calc(100vw - 28px));
  padding: 22px 24px;
  border: 1px solid var(--line);
  border-radius: 12px;
  background: var(--surface);
  color: var(--ink);
  box-shadow: 0 24px 64px #00000038;
}
dialog::backdrop { background: #0c0e1066 }
dialog h2 { font-size: 16px; font-weight: 650; margin-bottom: 10px }
dialog p { color: var(--soft); overflow-wrap: anywhere }
dialog p b, dialog p .mono { color: var(--ink) }
dialog label { display: block; margin-top: 14px }
dialog label span { display: block; margin-bottom: 5px; overflow-wrap: anywhere }
dialog code { padding: 1px 5px; border-radius: 4px; background: var(--hover); white-space: pre-wrap }
dialog .warn { margin-top: 12px; color: var(--warn) }
dialog .actions { display: flex; justify-content: flex-end; gap: 8px; margin-top: 20px }
dialog .actions button { color: inherit }
dialog .actions button.danger:enabled, dialog .actions button.primary:enabled { color: var(--surface) }
.keys { display: grid; grid-template-columns: max-content 1fr; gap: 9px 18px; color: var(--soft) }
`
