// Keys of the keyboard, each with its help. The newest binding of a key counts, so the panel goes before the page.

import { h } from './dom.js';
import { openDialog } from './parts.js';

const FIELDS = 'textarea, select, input:not([type=checkbox], [type=radio])';
let bindings = [];

/** Binds keys, `{ '/': { help, run } }`, until the signal aborts. They do nothing while one writes in a field. */
export const bind = (keys, signal) => {
  if (signal?.aborted) return;
  bindings.push(keys);
  signal?.addEventListener('abort', () => { bindings = bindings.filter((one) => one !== keys); }, { once: true });
};

/** Shows all keys that are active. */
export const showKeys = () => {
  // Keys that do the same share a line.
  const lines = Map.groupBy(Object.entries(Object.assign({}, ...bindings)), ([, { help }]) => help);
  lines.delete(undefined);
  openDialog('keys', 'Keys', h('dl', null, [...lines].map(([help, keys]) => h('div', null,
    h('dt', null, keys.map(([key]) => [h('kbd', null, key === 'Escape' ? 'Esc' : key), ' '])), h('dd', null, help)))));
};

/** Begins to listen. Called once by main.js. */
export const startKeys = () => {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.matches?.(FIELDS) || document.querySelector('dialog[open]') !== null) return;
    const keys = bindings.findLast((one) => Object.hasOwn(one, event.key));
    if (keys === undefined) return;
    event.preventDefault();
    keys[event.key].run(event);
  });
  bind({ '?': { help: 'Show the keys', run: showKeys } });
};
