// Values that people wrote, and their changes: short ones at once, long ones folded, and differences where they are.

import { isAbort } from './api.js';
import { diff } from './diff.js';
import { h, replace } from './dom.js';
import { arrow, button, copy, failure, number, plural, shown, skeleton } from './parts.js';
import { fresh } from './route.js';

const MAX_LINK = 500;
const INLINE = 60;
const SHORT = 16;
const OPEN_LENGTH = 1500;
const SHOWN_CHILDREN = 40;
const AT_ONCE = 20_000;
const CONTEXT = 80;

/**
 * Fills `target` with what `render` makes of the answer of `ask`. Until then the old content stays, or else a skeleton.
 * An error is shown with a way to try again.
 */
export const fill = async (target, signal, ask, render) => {
  if (!target.hasChildNodes()) replace(target, skeleton(6));
  target.setAttribute('aria-busy', 'true');
  try {
    const content = await render(await ask());
    if (!signal.aborted) replace(target, content);
  } catch (error) {
    if (signal.aborted || isAbort(error)) return;
    replace(target, failure(error, () => fill(replace(target), signal, ask, render)));
  } finally {
    if (!signal.aborted) target.removeAttribute('aria-busy');
  }
};

/** Fills `parent` with the first items, each made by `item`. Returns `whole` with a button that shows more. */
export const many = (parent, items, size, noun, item, whole = parent) => {
  const box = h('div', { class: 'many' }, whole);
  const show = () => {
    const first = parent.children.length;
    parent.append(...items.slice(first, first + size).map(item));
    replace(box, whole);
    const left = items.length - parent.children.length;
    const label = `Show ${Math.min(size, left)} more of ${left} ${noun}`;
    if (left > 0) box.append(h('p', { class: 'more' }, button(label, show)));
    if (first > 0) parent.children[first]?.querySelector('a, button')?.focus();
  };
  show();
  return box;
};

/** Returns a `details` element. Its content is made when it is opened for the first time. */
export const fold = (summary, content, open = false) => {
  const element = h('details', { class: 'fold' }, h('summary', null, summary));
  const show = () => element.append(h('div', { class: 'folded' }, content()));
  if (open) show();
  else element.addEventListener('toggle', show, { once: true });
  element.open = open;
  return element;
};

/** Returns the path of a field as nodes. It may be empty, and very long. */
export const pathOf = (field) => h('span', { class: 'path' }, field === '' ? '(no name)' : shown(field, 300));

/** Returns a text as nodes. If all of it is an `https:` address, it is a link that opens beside this page. */
export const textOf = (text) => {
  const isLink = text.length <= MAX_LINK && /^https:\/\/\S+$/i.test(text) && URL.canParse(text);
  if (!isLink) return shown(text, 400);
  const link = h('a', { href: text, title: `Opens ${new URL(text).host} in a new tab` }, shown(text));
  link.target = '_blank';
  return link;
};

/** Shows nodes in place of the button that asked for them, and moves the focus there. */
const reveal = (box, ...nodes) => {
  box.tabIndex = -1;
  replace(box, nodes).focus();
};

/** A button that stands for a part that is left out. */
const hidden = (label, nodes) => {
  const box = h('span');
  const more = button(label, () => reveal(box, nodes()), { title: 'Show them' });
  more.classList.add('more');
  return replace(box, more);
};

const quote = () => h('span', { class: 'quote' }, '"');
const isNested = (json) => json.members.length + json.items.length > 0;
const isLong = (json) => isNested(json) ? json.length > INLINE : json.length > 2 * INLINE || /\\n/.test(json.text);
const nameOf = (name) => h('span', { class: 'name' }, name === '' ? '""' : shown(name, 200), ': ');

const childrenOf = (json) => {
  const isObject = json.kind === 'object';
  const rows = isObject ? json.members : json.items.map((value, place) => ({ key: String(place), value }));
  return many(h('ul', { class: 'json' }), rows, SHOWN_CHILDREN, isObject ? 'keys' : 'items',
    ({ key, value }) => h('li', null, nameOf(key), valueOf(value)));
};

/** Returns one JSON value: exactly as written if it is short, and otherwise folded. */
export const valueOf = (json) => {
  if (json.kind === 'string') return h('span', { class: 'value string' }, quote(), textOf(json.string), quote());
  if (!isNested(json) || json.length <= INLINE) {
    return h('span', { class: `value ${json.kind}` }, shown(json.text, 100));
  }
  const size = json.kind === 'object' ? `{ ${plural(json.members.length, 'key', 'keys')} }`
    : `[ ${plural(json.items.length, 'item', 'items')} ]`;
  return h('div', { class: 'value nested' }, fold(size, () => childrenOf(json), json.length <= OPEN_LENGTH));
};

// Differences

/** A part of a text that did not change: only its ends, if it is long. */
const unchanged = (text, isFirst, isLast) => {
  const [start, end] = [isFirst ? 0 : CONTEXT, text.length - (isLast ? 0 : CONTEXT)];
  if (end - start <= CONTEXT) return shown(text);
  return [shown(text.slice(0, start)), hidden(`… ${number(end - start)} unchanged characters …`,
    () => shown(text.slice(start, end))), shown(text.slice(end))];
};

const textDiff = ({ parts }) => h('div', { class: 'words' }, parts.map(({ type, text }, place) => (type === 'same'
  ? unchanged(text, place === 0, place === parts.length - 1)
  : h(type === 'added' ? 'ins' : 'del', null, shown(text)))));

const replaced = ({ old, new: value }) => h('div', { class: `replaced ${isLong(old) || isLong(value) ? 'long' : ''}` },
  h('del', null, valueOf(old)), arrow(), h('ins', null, valueOf(value)));

/** The children of a difference, where those in a row that are the same are one line. */
const rowsOf = (children) => {
  const rows = [];
  for (const child of children) {
    if (child.type !== 'same') rows.push(child);
    else if (rows.at(-1)?.same) rows.at(-1).same.push(child);
    else rows.push({ same: [child] });
  }
  return rows;
};

const childDiff = ({ same, type, name, old, new: value, ...rest }) => {
  if (same) {
    return h('li', { class: 'same' }, hidden(`${number(same.length)} unchanged`, () => h('ul', { class: 'json' },
      same.map((child) => h('li', null, nameOf(String(child.name)), valueOf(child.new))))));
  }
  const label = nameOf(String(name));
  if (type === 'added') return h('li', { class: type }, h('ins', null, label, valueOf(value)));
  if (type === 'removed') return h('li', { class: type }, h('del', null, label, valueOf(old)));
  return h('li', null, label, differenceOf({ type, old, new: value, ...rest }));
};

const differenceOf = (node) => {
  const { type, old, new: value, children } = node;
  if (type === 'same') return [valueOf(value), h('span', { class: 'dim' }, ' (unchanged)')];
  if (type === 'text' && old.length + value.length > 2 * SHORT) return textDiff(node);
  if (!children) return replaced(node);
  if (children.every((child) => child.type === 'same')) {
    return h('p', { class: 'dim' }, 'Only the order or the spelling of the keys differs.');
  }
  return many(h('ul', { class: 'json diff' }), rowsOf(children), SHOWN_CHILDREN, 'rows', childDiff);
};

const bothOf = ({ oldValue, newValue }) => {
  const side = (name, json) => [h('dt', null, name, ' ', copy('Copy', () => json.text)), h('dd', null, valueOf(json))];
  return fold('Old and new value', () => h('dl', { class: 'both' }, side('Old', oldValue), side('New', newValue)));
};

/**
 * Returns a change: its field, and how the new value differs from the old one. Long values are compared on demand. Both
 * values can be opened and copied, exactly as they were written.
 */
export const changeOf = (change) => {
  const { field, oldValue, newValue } = change;
  const length = oldValue.length + newValue.length;
  const body = h('div', { class: 'difference' });
  const result = () => differenceOf(diff(oldValue, newValue));
  if (oldValue.kind !== newValue.kind || length <= AT_ONCE) replace(body, result());
  else replace(body, h('p', null, button(`Compare ${number(length)} characters`, () => reveal(body, result()))),
    replaced({ old: oldValue, new: newValue }));
  const others = fresh({ 'changes.field': field.replaceAll('*', '\\*') });
  return h('figure', { class: 'change' },
    h('figcaption', null, field === '' ? pathOf(field)
      : h('a', { href: others, title: 'Find the entries that changed this field' }, pathOf(field))),
    body, (isLong(oldValue) || isLong(newValue)) && bothOf(change));
};
