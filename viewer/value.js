// Values that people wrote, and their changes: short ones at once, long ones folded, and differences where they are.

import { diff } from './diff.js';
import { h, replace } from './dom.js';
import { many } from './moments.js';
import { brief, button, copy, number, plural, shown } from './parts.js';
import { fresh } from './route.js';

const MAX_LINK = 500;
const SHOWN_TEXT = 400;
const SHOWN_NUMBER = 100;
const INLINE = 60;
const SHORT = 16;
const OPEN_LENGTH = 1500;
const SHOWN_CHILDREN = 40;
const AT_ONCE = 20_000;
const CONTEXT = 80;
const LINE = 70;

const isLink = (text) => text.length <= MAX_LINK && /^https:\/\/\S+$/i.test(text) && URL.canParse(text);

/** Returns a text as nodes. If all of it is an `https:` address, it is a link that opens beside this page. */
export const textOf = (text, limit = SHOWN_TEXT) => {
  if (!isLink(text)) return shown(text, limit);
  const title = `Opens ${new URL(text).host} in a new tab`;
  const link = h('a', { href: text, class: 'external', title }, shown(text));
  link.target = '_blank';
  return link;
};

/** Shows nodes in place of the button that asked for them, and moves the focus there. */
const reveal = (box, ...nodes) => {
  box.tabIndex = -1;
  replace(box, nodes).focus();
};

/** Returns a `details` element. Its content is made when it is opened for the first time. */
export const fold = (summary, content, open = false) => {
  const element = h('details', { class: 'fold' }, h('summary', null, summary));
  const fill = () => element.append(h('div', { class: 'folded' }, content()));
  if (open) fill();
  else element.addEventListener('toggle', fill, { once: true });
  element.open = open;
  return element;
};

const quote = () => h('span', { class: 'quote' }, '"');
const arrow = () => h('span', { class: 'arrow', role: 'img', 'aria-label': 'becomes' }, ' → ');
const isNested = (json) => json.members.length + json.items.length > 0;
const isLong = (json) => isNested(json) ? json.length > INLINE : json.length > 2 * INLINE || /\\n/.test(json.text);

const sizeOf = (json) => (json.kind === 'object' ? `{ ${plural(json.members.length, 'key', 'keys')} }`
  : `[ ${plural(json.items.length, 'item', 'items')} ]`);

const nameOf = (name) => h('span', { class: 'name' }, name === '' ? '""' : shown(name, 200), ': ');

const childrenOf = (json) => {
  const isObject = json.kind === 'object';
  const rows = isObject ? json.members : json.items.map((value, place) => ({ key: place, value }));
  return many(h('ul', { class: isObject ? 'json' : 'json items' }), rows, SHOWN_CHILDREN, isObject ? 'keys' : 'items',
    ({ key, value }) => h('li', null, nameOf(isObject ? key : String(key)), valueOf(value)));
};

/** Returns one JSON value: exactly as written if it is short, and otherwise folded. */
export const valueOf = (json) => {
  if (json.kind === 'string') {
    return h('span', { class: 'value string' }, quote(), textOf(json.string), quote());
  }
  if (isNested(json) && json.length > INLINE) {
    const size = json.length > OPEN_LENGTH && h('span', { class: 'faint' }, ` ${number(json.length)} characters`);
    return h('div', { class: 'value nested' },
      fold([sizeOf(json), size], () => childrenOf(json), json.length <= OPEN_LENGTH));
  }
  return h('span', { class: `value ${json.kind}` }, shown(json.text, SHOWN_NUMBER));
};

// Differences

/** A part of a text that did not change: only its ends, if it is long. */
const unchanged = (text, isFirst, isLast) => {
  const [start, end] = [isFirst ? 0 : CONTEXT, isLast ? 0 : CONTEXT];
  if (text.length <= start + end + CONTEXT) return shown(text);
  const middle = text.slice(start, text.length - end);
  const box = h('span', null);
  const label = `… ${number(middle.length)} unchanged characters …`;
  const more = button(label, () => reveal(box, shown(middle)), { title: 'Show them' });
  more.classList.add('more');
  return [shown(text.slice(0, start)), replace(box, more), shown(text.slice(text.length - end))];
};

const textDiff = ({ parts }) => h('div', { class: 'words' }, parts.map(({ type, text }, place) => {
  if (type === 'same') return unchanged(text, place === 0, place === parts.length - 1);
  return h(type === 'added' ? 'ins' : 'del', null, shown(text));
}));

const replaced = ({ old, new: value }) => {
  const sides = [h('del', null, valueOf(old)), arrow(), h('ins', null, valueOf(value))];
  return h('div', { class: isLong(old) || isLong(value) ? 'replaced long' : 'replaced' }, sides);
};

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

const sameRow = (same) => {
  const all = h('span', null);
  const show = () => reveal(all, h('ul', { class: 'json' }, same.map(({ name, new: value }) =>
    h('li', null, nameOf(String(name)), valueOf(value)))));
  const more = button(`${number(same.length)} unchanged`, show, { title: 'Show them' });
  more.classList.add('more');
  return h('li', { class: 'same' }, replace(all, more));
};

const childDiff = (child) => {
  if (child.same) return sameRow(child.same);
  const name = nameOf(String(child.name));
  if (child.type === 'added') return h('li', { class: 'added' }, h('ins', null, name, valueOf(child.new)));
  if (child.type === 'removed') return h('li', { class: 'removed' }, h('del', null, name, valueOf(child.old)));
  return h('li', { class: 'changed' }, name, differenceOf(child));
};

const nestedDiff = ({ children }) => (children.every(({ type }) => type === 'same')
  ? h('p', { class: 'dim' }, 'Only the order or the spelling of the keys differs.')
  : many(h('ul', { class: 'json diff' }), rowsOf(children), SHOWN_CHILDREN, 'rows', childDiff));

const differenceOf = (node) => {
  if (node.type === 'same') return h('span', null, valueOf(node.new), h('span', { class: 'dim' }, ' (unchanged)'));
  const isShort = node.old.length <= SHORT && node.new.length <= SHORT;
  if (node.type === 'text' && !isShort) return textDiff(node);
  return ['replaced', 'text'].includes(node.type) ? replaced(node) : nestedDiff(node);
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
  const isPlain = [oldValue, newValue].some(({ kind }) => !['string', 'array', 'object'].includes(kind));
  if (isPlain || length <= AT_ONCE) replace(body, result());
  else replace(body, h('p', null, button(`Compare ${number(length)} characters`, () => reveal(body, result()))),
    replaced({ old: oldValue, new: newValue }));
  const others = fresh({ 'changes.field': field.replaceAll('*', '\\*') });
  return h('figure', { class: 'change' },
    h('figcaption', { class: 'path' }, field === '' ? '(no name)'
      : h('a', { href: others, title: 'Find the entries that changed this field' }, brief(field, 300))),
    body, (isLong(oldValue) || isLong(newValue)) && bothOf(change));
};

/** The texts of two values for one line. What both begin with is left out if it is long. */
const shortened = (before, after) => {
  const [a, b] = [before, after].map((json) => json.text.slice(0, 4000));
  let same = 0;
  while (same < a.length && a[same] === b[same]) same += 1;
  const start = same <= LINE / 3 ? 0 : a.lastIndexOf(' ', same - 8) + 1 || same - 8;
  return [a, b].map((text) => [start > 0 && '…', brief(text.slice(start), LINE)]);
};

/** Returns a change as one line: the field, the old value and the new one, shortened to where they differ. */
export const changeLine = ({ field, oldValue, newValue }) => {
  const [before, after] = shortened(oldValue, newValue);
  const name = field === '' ? '(no name)' : brief(field, 100);
  return h('span', { class: 'change-line' }, h('span', { class: 'path' }, name), ' ',
    h('del', { class: oldValue.kind }, before), arrow(), h('ins', { class: newValue.kind }, after));
};
