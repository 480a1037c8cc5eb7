// Keys of the keyboard, each with its help. The newest binding of a key counts, so the panel goes before the page.

import { h } from './dom.js';

const NAMES = { Escape: 'Esc', Enter: '↵', ' ': 'Space', ArrowDown: '↓', ArrowUp: '↑' };
let bindings = [];

/** Whether keys go to a field in which one writes. */
const isField = (element) => element instanceof HTMLElement
  && (element.isContentEditable || element.matches('textarea, select, input:not([type=checkbox], [type=radio])'));

const onKey = (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (isField(event.target) || document.querySelector('dialog[open]') !== null) return;
  const found = bindings.findLast(({ keys }) => Object.hasOwn(keys, event.key));
  if (found === undefined) return;
  event.preventDefault();
  found.keys[event.key].run(event);
};

/** Binds keys, `{ '/': { help, run } }`, until the signal aborts. They do nothing while one writes in a field. */
export const bind = (keys, signal) => {
  if (signal?.aborted) return;
  const entry = { keys };
  bindings.push(entry);
  signal?.addEventListener('abort', () => { bindings = bindings.filter((one) => one !== entry); }, { once: true });
};

/** Shows all keys that are active. */
export const showKeys = () => {
  const active = new Map();
  for (const { keys } of bindings) {
    for (const [key, { help }] of Object.entries(keys)) if (help) active.set(key, help);
  }
  // Keys that do the same share a line.
  const keysOf = (help) => [...active].filter((one) => one[1] === help).map(([key]) => key);
  const rows = [...new Set(active.values())].map((help) => h('div', null,
    h('dt', null, keysOf(help).map((key) => [h('kbd', null, NAMES[key] ?? key), ' '])),
    h('dd', null, help)));
  const close = h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Close');
  const dialog = h('dialog', { class: 'keys', 'aria-labelledby': 'keys-title', on: { close: () => dialog.remove() } },
    h('h2', { id: 'keys-title' }, 'Keys'),
    h('dl', null, rows),
    h('p', { class: 'buttons' }, close));
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
};

/** Begins to listen. Called once by main.js. */
export const startKeys = () => {
  document.addEventListener('keydown', onKey);
  bind({ '?': { help: 'Show the keys', run: showKeys } });
};
